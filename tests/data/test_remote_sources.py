"""Tables over HTTP: what is fetched, from whom, and what is never said of a URL."""

import logging
import socket
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import pytest
from processes import PATIENCE_SECONDS

from recsys.data.download import downloaded, is_public
from recsys.data.locations import (
    DEFAULT,
    VARIABLE,
    SourceError,
    Sources,
    UnreachableError,
    holds_credential,
    shown,
    without_credentials,
)
from recsys.data.sources import FILE, PATIENCE, ROW, read_table

SECRET = "s3cr3t"
TABLE = pl.DataFrame({"user_id": ["007", "8"], "item_id": ["1", "2"], "timestamp": ["2024-01-01", "2024-01-02"]})


class Web:
    """A web server over a folder: ``/file``, ``/moved``, ``/endless``; it keeps the paths and headers of requests."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append((self.path, dict(self.headers)))
                path = self.path.partition("?")[0]
                if path == "/moved.csv":
                    self.send_response(302)
                    self.send_header("Location", f"/t.csv?X-Amz-Signature={SECRET}")
                    self.end_headers()
                    return
                file = folder / path.lstrip("/")
                if path == "/endless.csv":
                    self.send_response(200)
                    self.end_headers()
                    try:
                        while True:
                            self.wfile.write(b"x" * 65_536)
                    except OSError:
                        return
                if not file.is_file():
                    self.send_error(404)
                    return
                self.send_response(200)
                self.end_headers()
                self.wfile.write(file.read_bytes())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.place = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.place}"


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A server of the inner network that the operator has named."""
    web = Web(tmp_path)
    monkeypatch.setenv(VARIABLE, f"{DEFAULT} {web.url}/")
    thread = threading.Thread(target=web.server.serve_forever)
    thread.start()
    yield web
    web.server.shutdown()
    web.server.server_close()
    thread.join()


def test_a_url_is_read_and_only_its_name_kept(tmp_path: Path, web: Web) -> None:
    TABLE.write_parquet(tmp_path / "t.parquet")
    TABLE.write_csv(tmp_path / "t.csv")
    for name in ("t.parquet", "t.csv"):
        table = read_table(f"{web.url}/{name}?X-Amz-Signature={SECRET}#{SECRET}", "events")
        assert table.drop(FILE, ROW).equals(TABLE)
        assert table[FILE].to_list() == [name, name]
        assert table[ROW].to_list() == [1, 2]
    assert web.asked[0][0] == f"/t.parquet?X-Amz-Signature={SECRET}"  # the server is told it


def test_userinfo_is_sent_as_basic_authentication(tmp_path: Path, web: Web) -> None:
    TABLE.write_csv(tmp_path / "t.csv")
    assert read_table(f"http://me:{SECRET}@{web.place}/t.csv", "events").height == 2
    path, headers = web.asked[0]
    assert (path, headers["Host"]) == ("/t.csv", web.place)
    assert headers["Authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("absent.csv", "absent.csv answers with 404"),
        ("moved.csv", r"moved.csv answers with a redirect \(302\), and none is followed"),
        ("broken.parquet", "broken.parquet cannot be read as Parquet"),
        ("broken.csv", "broken.csv cannot be read as CSV"),
        ("empty.csv", r"empty.csv is empty"),
        ("headers.csv", "headers.csv holds no rows of events"),
        ("lacking.csv", "lacking.csv has no column 'item_id'"),
    ],
)
@pytest.mark.parametrize("signed", ["http://{place}/{name}?sig={secret}", "http://u:{secret}@{place}/{name}#{secret}"])
def test_no_error_repeats_a_credential(
    tmp_path: Path, web: Web, caplog: pytest.LogCaptureFixture, place: str, message: str, signed: str
) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 is not enough")
    (tmp_path / "broken.csv").write_bytes(b"user_id,item_id,timestamp\na,b,1\na,b,1,x\n")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "headers.csv").write_bytes(b"user_id,item_id,timestamp\n")
    (tmp_path / "lacking.csv").write_bytes(b"user_id,timestamp\na,1\n")
    url = signed.format(place=web.place, name=place, secret=SECRET)
    with caplog.at_level(logging.INFO), pytest.raises(SourceError, match=message) as told:
        read_table(url, "events")
    assert SECRET not in "".join(traceback.format_exception(told.value))
    chain = [told.value, told.value.__cause__, told.value.__context__]
    assert not any(SECRET in str(error) for error in chain)
    assert SECRET not in caplog.text
    assert len(web.asked) == 1


def test_a_host_that_does_not_answer_is_told_without_the_url() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/t.csv?sig={SECRET}"
        with pytest.raises(SourceError, match="cannot be fetched") as told:
            read_table(url, "events", sources=Sources.of(url.partition("t.csv")[0]))
    assert SECRET not in "".join(traceback.format_exception(told.value))


def test_a_download_ends_at_its_limits(web: Web) -> None:
    url = f"{web.url}/endless.csv"
    with (
        pytest.raises(SourceError, match="is larger than 1,000,000 bytes"),
        downloaded(url, Sources.of(url), 1_000_000),
    ):
        pass
    with pytest.raises(SourceError, match="takes too long"), downloaded(url, Sources.of(url), 10**12, seconds=0):
        pass


def test_what_was_fetched_is_its_owners_and_goes(tmp_path: Path, web: Web) -> None:
    TABLE.write_csv(tmp_path / "t.csv")
    with downloaded(f"{web.url}/t.csv", Sources.from_environment(), 1_000_000) as file:
        assert file.stat().st_mode & 0o077 == 0
    assert not file.exists()


def test_an_object_store_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.data.sources.PATIENCE", PATIENCE | {"timeout": "200ms", "max_retries": 0})
    given_up = threading.Event()

    def keep_waiting(store: socket.socket) -> None:
        asked, _ = store.accept()
        with asked:
            asked.settimeout(PATIENCE_SECONDS)
            while asked.recv(65_536):
                pass
            given_up.set()

    with socket.create_server(("127.0.0.1", 0)) as store:
        threading.Thread(target=keep_waiting, args=[store], daemon=True).start()
        settings = {"ENDPOINT_URL": f"http://127.0.0.1:{store.getsockname()[1]}", "ALLOW_HTTP": "true"}
        settings |= {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "REGION": "nowhere"}
        for name, value in settings.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        with pytest.raises(UnreachableError, match="cannot be read as Parquet"):
            read_table("s3://bucket/t.parquet", "events")
        assert given_up.wait(PATIENCE_SECONDS)


INNER = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "224.0.0.1",
    "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:c0a8:101::",
]  # fmt: skip


@pytest.mark.parametrize("address", INNER)
def test_inner_addresses_in_every_spelling(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


def test_a_setting_with_an_open_quote_is_refused() -> None:
    with pytest.raises(SourceError, match="RECSYS_SOURCES cannot be read: No closing quotation"):
        Sources.of("/data 's3://bucket/")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "[::1]", "[::ffff:127.0.0.1]", "localhost", "169.254.169.254"],
)
def test_an_inner_host_is_not_asked_unless_it_is_named(tmp_path: Path, web: Web, host: str) -> None:
    port = web.server.server_port
    for setting in (DEFAULT, f"{DEFAULT} http://", f"{DEFAULT} http:// http://other.example/"):
        with pytest.raises(SourceError, match=VARIABLE):
            read_table(f"http://{host}:{port}/t.csv", "events", sources=Sources.of(setting))
    with pytest.raises(SourceError, match="own network"):
        read_table(f"https://{host}:{port}/t.csv", "events", sources=Sources.of(DEFAULT))
    assert web.asked == []


def test_the_address_that_was_looked_at_is_the_one_that_is_asked(
    tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that points elsewhere on the second look."""
    TABLE.write_csv(tmp_path / "t.csv")
    answers = [["127.0.0.1"], ["169.254.169.254"]]
    looked = socket.getaddrinfo

    def rebinding(host: str, port: int, *args: object, **kwargs: object) -> object:
        if host == "rebinding.example":
            (address,) = answers.pop(0)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]
        return looked(host, port, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("socket.getaddrinfo", rebinding)
    url = f"http://rebinding.example:{web.server.server_port}/t.csv"
    assert read_table(url, "events", sources=Sources.of(url)).height == 2
    assert web.asked[0][1]["Host"] == f"rebinding.example:{web.server.server_port}"
    assert len(answers) == 1


def test_a_name_with_one_inner_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in ("1.1.1.1", "10.0.0.1")]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: both)
    with pytest.raises(SourceError, match="own network"):
        read_table("https://both.example/t.csv", "events")


@pytest.mark.parametrize(
    ("setting", "location", "read"),
    [
        (DEFAULT, "s3://bucket/a/*.parquet", True),
        (DEFAULT, "s3a://bucket/a.parquet", True),
        (DEFAULT, "abfss://box@account.dfs.example/a.parquet", True),
        (DEFAULT, "HTTPS://files.example/a.csv", True),
        (DEFAULT, "http://files.example/a.csv", False),
        (DEFAULT, "hf://datasets/a/b.csv", False),
        (DEFAULT, "ftp://files.example/a.csv", False),
        (DEFAULT, "gopher://files.example/a.csv", False),
        ("s3://bucket/raw/", "s3://bucket/raw/a.parquet", True),
        ("s3://bucket/raw", "s3://bucket/raw/a.parquet", True),
        ("s3://bucket/raw/", "s3://bucket/rawer/a.parquet", False),
        ("s3://bucket/raw/", "s3://bucket/raw/../secret/a.parquet", False),
        ("s3://bucket/raw/", "s3://bucket/raw/%2e%2e/secret/a.parquet", False),
        ("s3://bucket/raw/", "s3://bucket2/raw/a.parquet", False),
        ("s3://bucket/raw/", "s3://buck*/raw/a.parquet", False),
        ("https://files.example/", "https://files.example.attacker.example/a.csv", False),
        ("https://files.example/", "https://files.example@attacker.example/a.csv", False),
        ("https://files.example/", "https://files.example:444/a.csv", False),
        ("https://files.example/", "https://files.example:443/a.csv", True),
        ("https://files.example/", "http://files.example/a.csv", False),
    ],
)
def test_what_a_setting_lets_be_read(setting: str, location: str, read: bool) -> None:
    if read:
        Sources.of(setting).url(location)
    else:
        with pytest.raises(SourceError, match=VARIABLE):
            Sources.of(setting).url(location)


def test_a_setting_of_folders_holds_for_files_links_and_globs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, secret = tmp_path / "data", tmp_path / "secret"
    for folder in (data, secret):
        folder.mkdir()
        TABLE.write_csv(folder / "t.csv")
    monkeypatch.setenv(VARIABLE, f"'{data}' s3://")
    assert read_table(data / "t.csv", "events").height == 2
    assert read_table(f"file://{data}/*.csv", "events").height == 2
    outside = [secret / "t.csv", secret, f"{secret}/*.csv", f"{data}/../secret/t.csv", secret / "absent.csv"]
    outside += [f"{tmp_path}/**/*.csv", f"file://{secret}/t.csv"]
    (data / "link.csv").symlink_to(secret / "t.csv")
    outside += [data / "link.csv", data, f"{data}/*.csv"]
    for location in outside:
        with pytest.raises(SourceError, match="not in a folder that may be read"):
            read_table(location, "events")
    with pytest.raises(SourceError, match="another machine"):
        read_table(f"file://elsewhere{data}/t.csv", "events")


@pytest.mark.parametrize("setting", ["data", "s3:bucket", f"https://u:{SECRET}@host/", f"https://host/?sig={SECRET}"])
def test_a_setting_that_cannot_be_meant_is_refused(setting: str) -> None:
    with pytest.raises(SourceError, match=VARIABLE) as told:
        Sources.of(setting)
    assert SECRET not in str(told.value)


@pytest.mark.parametrize(
    "location",
    [
        f"https://u:{SECRET}@host/t.csv", f"https://{SECRET}@host/t.csv", f"https://host/t.csv?X-Amz-Signature={SECRET}",
        f"https://host/t.csv#{SECRET}", f"HTTPS://host/t.csv?{SECRET}", f" https://host/t.csv?{SECRET}",
        f"https:/host/t.csv?sig={SECRET}", f"https://u:a/{SECRET}@host/t.csv", f"https://u:1?{SECRET}@host/t.csv",
        f"https://u:{SECRET}@@host/t.csv", f"https://[u:{SECRET}@host/t.csv", f"host/t.csv?sig={SECRET}",
        f"s3://key:{SECRET}@bucket/t.csv", f"az://box/t.csv?sig={SECRET}", f"az://box/t.csv?sv=1&sig={SECRET}#x",
        f"abfss://box:{SECRET}@account/t.csv", f"http://host:80/t.csv?a={SECRET}",
    ],
)  # fmt: skip
def test_a_credential_is_not_shown(location: str) -> None:
    assert SECRET not in shown(location)
    assert holds_credential(location)
    assert SECRET not in without_credentials(f"GET {location}: no ({SECRET})", location)


@pytest.mark.parametrize(
    "location",
    [
        "t.csv", "/data/t?.csv", "C:/data/t.csv", "s3://bucket/part-?.parquet", "s3://bucket/year=2024/*.parquet",
        "abfss://box@account.dfs.example/a.parquet", "https://host:8443/a/t.csv", "file:///data/t.csv",
        "/data/a@b#c.csv",
        "https://host/@scope/t.csv",
    ],
)  # fmt: skip
def test_a_plain_location_is_shown_as_it_is(location: str) -> None:
    assert shown(location) == location
