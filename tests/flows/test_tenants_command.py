"""`recsys tenants`: made, listed, limited and deleted; every command takes a tenant's home as it takes any."""

from pathlib import Path

from test_cli import run

from recsys.home import Home
from services.edge.keys import tenant_in


def test_a_tenants_life(tmp_path: Path) -> None:
    house = ["--home", str(tmp_path / "house")]
    made = run("tenants", "create", "acme", "--rate", "50", *house)
    home = Home(tmp_path / "house" / "tenants" / "acme")
    assert made == {"tenant": "acme", "home": str(home.root), "rate": 50.0, "at_once": None}
    assert home.tenant == "acme"
    assert Home(tmp_path / "house").tenant is None
    key = run("keys", "create", "--name", "backend", "--scope", "recommend", "--home", str(home.root))["key"]
    assert tenant_in(key) == "acme"
    (listed,) = run("tenants", "list", *house)["tenants"]
    assert (listed["tenant"], listed["rate"], listed["serves"], listed["leaving"]) == ("acme", 50.0, None, False)
    assert run("tenants", "set", "acme", "--at-once", "4", *house)["at_once"] == 4
    (listed,) = run("tenants", "list", *house)["tenants"]
    assert (listed["rate"], listed["at_once"]) == (None, 4)
    assert tenant_in(run("keys", "create", "--name", "operator", "--scope", "admin", *house)["key"]) is None
    backed_up = Path(run("backup", tmp_path / "backups", *house)["backup"])
    assert not [path for path in backed_up.rglob("*") if "acme" in str(path.relative_to(backed_up))]
    for words, said in (
        (("create", "acme"), "already"),
        (("create", "Acme"), "small letters"),
        (("create", "other", "--rate", "0"), "positive"),
        (("set", "nobody"), "no tenant 'nobody'"),
        (("delete", "nobody", "--yes"), "no tenant 'nobody'"),
        (("delete", "acme"), "Add --yes"),
    ):
        assert said in run("tenants", *words, *house, code=1)["error"]
    assert run("tenants", "delete", "acme", "--yes", *house) == {"deleted": "acme"}
    assert run("tenants", "list", *house) == {"tenants": []}
    assert not home.root.exists()
