"""The manifests fit Kubernetes' own types, its strictest standard for pods, and what the service and the flows are."""

import inspect
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import typer
import yaml
from manifests import KUBERNETES, OVERLAYS, Manifest, documents, pods, written, wrong
from typer.core import TyperGroup

from flows import server
from flows.cli import app
from flows.deployment import POOL, QUEUES
from recsys.telemetry import SWITCHES
from services.edge.connections import KEEP_ALIVE
from services.edge.metrics import Metrics
from services.serve import START_SECONDS, STOP_SECONDS

WRITTEN = list(written())
WHOLE = [one for _, one, part in WRITTEN if not part]
PODS = pods(WHOLE)
# https://kubernetes.io/docs/concepts/security/pod-security-standards, "Restricted"
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
HOSTS = ("hostNetwork", "hostPID", "hostIPC")
SECRET = re.compile(r"AUTH_STRING|PASSWORD|TOKEN|SECRET|_KEY\b|DATABASE_URL|CONNECTION_URL")
KUBECTL = shutil.which("kubectl")


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]


def environment(container: Manifest) -> dict[str, Any]:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container.get("env", [])}


def unrestricted(pod: Manifest) -> Iterator[str]:
    """Yield what of a pod the standard "restricted" forbids."""
    spec = pod["spec"]
    outer = spec.get("securityContext", {})
    yield from (name for name in HOSTS if spec.get(name))
    yield from (f"volume {one['name']}" for one in spec.get("volumes", []) if not VOLUMES & one.keys())
    yield from (f"sysctl {one}" for one in outer.get("sysctls", []))
    for one in containers(pod):
        own = one.get("securityContext", {})
        both = outer | own
        if own.get("privileged") or own.get("allowPrivilegeEscalation") is not False:
            yield f"{one['name']}: privileges"
        if not both.get("runAsNonRoot") or both.get("runAsUser") == 0:
            yield f"{one['name']}: root"
        if both.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            yield f"{one['name']}: seccomp"
        capabilities = own.get("capabilities", {})
        if capabilities.get("drop") != ["ALL"] or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
            yield f"{one['name']}: capabilities"
        if own.get("procMount", "Default") != "Default" or both.get("windowsOptions", {}).get("hostProcess"):
            yield f"{one['name']}: host"
        if both.get("appArmorProfile", {}).get("type") == "Unconfined" or both.get("seLinuxOptions", {}).get("user"):
            yield f"{one['name']}: confinement"
        yield from (f"{one['name']}: host port" for port in one.get("ports", []) if port.get("hostPort"))


@pytest.mark.parametrize(
    ("manifest", "part"),
    [
        pytest.param(one, part, id=f"{path.parent.name}/{path.name}: {one['kind']} {one['metadata']['name']}")
        for path, one, part in WRITTEN
    ],
)
def test_it_fits_the_type_that_kubernetes_has(manifest: Manifest, part: bool) -> None:
    assert wrong(manifest, part) == []


def test_what_does_not_fit_is_found() -> None:
    text = yaml.safe_dump(next(one for one in documents(KUBERNETES / "base" / "service.yaml")))

    def found(old: str, new: str, part: bool = False) -> list[str]:
        assert old in text
        return [one.rpartition(".")[2] for one in wrong(yaml.safe_load(text.replace(old, new, 1)), part)]

    assert found("livenessProbe", "livenesProbe") == ["livenesProbe is unknown"]
    assert found("minReadySeconds: 5", "minReadySeconds: five") == ["minReadySeconds is 'five', not int"]
    assert found("minReadySeconds: 5", "minReadySeconds: true") == ["minReadySeconds is True, not int"]
    assert found("  selector:", "  selectors:") == ["selectors is unknown", "selector is missing"]
    assert found("  selector:", "  selectors:", part=True) == ["selectors is unknown"]
    assert found("port: http", "port: [http]") == ["port is ['http'], not int"]


@pytest.mark.parametrize("name", PODS)
def test_a_pod_meets_the_strictest_standard_and_ours(name: str) -> None:
    pod = PODS[name]
    assert list(unrestricted(pod)) == []
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["enableServiceLinks"] is False
    assert pod["spec"]["securityContext"]["runAsUser"] == 10001  # as infra/images has it
    for one in containers(pod):
        assert one["securityContext"]["readOnlyRootFilesystem"] is True
        assert {"cpu", "memory"} <= one["resources"]["requests"].keys()
        assert "memory" in one["resources"]["limits"]
        mounted = {volume["name"] for volume in one["volumeMounts"]}
        assert mounted <= {volume["name"] for volume in pod["spec"]["volumes"]}
    assert all(volume["emptyDir"].get("sizeLimit") for volume in pod["spec"]["volumes"] if "emptyDir" in volume)


def test_a_pod_that_is_not_restricted_is_found() -> None:
    pod = yaml.safe_load(yaml.safe_dump(PODS["recsys"]))
    assert list(unrestricted(pod)) == []
    pod["spec"] |= {"hostNetwork": True, "volumes": [{"name": "host", "hostPath": {"path": "/"}}]}
    pod["spec"]["securityContext"] = {"runAsUser": 0}
    pod["spec"]["initContainers"] = []
    pod["spec"]["containers"][0]["securityContext"] = {"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}}
    assert list(unrestricted(pod)) == [
        "hostNetwork",
        "volume host",
        *(f"service: {what}" for what in ("privileges", "root", "seccomp", "capabilities")),
    ]


def test_the_namespace_enforces_that_standard() -> None:
    (namespace,) = [one for one in WHOLE if one["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_secrets_are_named_and_never_written() -> None:
    assert not [one for one in WHOLE if one["kind"] == "Secret"]
    for pod in PODS.values():
        for one in containers(pod):
            for name, value in environment(one).items():
                assert not SECRET.search(name) or "secretKeyRef" in value, name


def test_nothing_reports_on_its_use() -> None:
    for pod in PODS.values():
        for one in pod["spec"]["containers"]:
            assert environment(one)["DO_NOT_TRACK"] == SWITCHES["DO_NOT_TRACK"]
    assert environment(PODS["recsys"]["spec"]["containers"][0])["BENTOML_DO_NOT_TRACK"] == "True"
    assert environment(PODS["prefect"]["spec"]["containers"][0])["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"


def test_prefects_server_is_closed_as_recsys_ui_closes_it() -> None:
    there = environment(PODS["prefect"]["spec"]["containers"][0])
    ours = server.closed("user:password", 4200) | server.LEASES
    assert ours.keys() <= there.keys()
    assert there[server.SERVER_SECRET]["secretKeyRef"] == {"name": "recsys-prefect", "key": "login"}
    for name in ours.keys() - {server.SERVER_SECRET, "PREFECT_SERVER_CORS_ALLOWED_ORIGINS"}:
        assert there[name] == ours[name]
    assert there["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] in ours["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"]
    for name in ("recsys-worker", "recsys-worker-cuda"):
        client = environment(PODS[name]["spec"]["containers"][0])
        assert client[server.CLIENT_SECRET]["secretKeyRef"] == {"name": "recsys-prefect", "key": "login"}
        assert client["PREFECT_API_URL"] == "http://prefect:4200/api"


def test_a_rollout_waits_for_what_is_under_way() -> None:
    spec = PODS["recsys"]["spec"]
    (service,) = spec["containers"]
    pause = service["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] >= pause + STOP_SECONDS
    (deployment,) = [one for one in WHOLE if (one["kind"], one["metadata"]["name"]) == ("Deployment", "recsys")]
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    startup, ready, live = (service[f"{name}Probe"] for name in ("startup", "readiness", "liveness"))
    assert startup["periodSeconds"] * startup["failureThreshold"] >= START_SECONDS
    # out of the way of new requests before it stops to take them
    assert ready["periodSeconds"] * ready["failureThreshold"] <= pause
    assert [one["httpGet"]["path"] for one in (startup, ready, live)] == ["/livez", "/readyz", "/livez"]
    assert KEEP_ALIVE in environment(service)


def test_replicas_follow_a_number_that_the_service_counts() -> None:
    scaling = documents(KUBERNETES / "production" / "scaling.yaml")
    (name,) = [one["pods"]["metric"]["name"] for one in scaling[0]["spec"]["metrics"] if one["type"] == "Pods"]
    assert f'Gauge,\n            "{name}"' in inspect.getsource(Metrics)
    (rule,) = yaml.safe_load((KUBERNETES / "monitoring" / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    assert rule["seriesQuery"].startswith(f"{name}{{")


def options_of(words: list[str]) -> tuple[set[str], set[str]]:
    """Return the options that a `recsys` command is given, and those that it has."""
    command = typer.main.get_command(app)
    assert isinstance(command, TyperGroup)
    chosen = command.commands[words[1]]
    return {one for one in words if one.startswith("--")}, {one for each in chosen.params for one in each.opts}


def test_the_commands_are_there() -> None:
    asked = [one["args"] for pod in PODS.values() for one in pod["spec"]["containers"]]
    for words in asked:
        if words[0] == "recsys":
            given, known = options_of(words)
            assert given <= known
    patched = documents(KUBERNETES / "production" / "worker.yaml")[0]["spec"]["template"]["spec"]["containers"][0][
        "args"
    ]
    workers = [words for words in [*asked, patched] if words[1] == "worker"]
    assert all(words[words.index("--pool") + 1] == POOL for words in workers)
    served = {words[at + 1] for words in workers for at, word in enumerate(words) if word == "--work-queue"}
    assert served == set(QUEUES)


def test_everybody_is_denied_what_nobody_has_named() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in WHOLE if one["kind"] == "NetworkPolicy"}
    assert policies["nothing"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    chosen = [one["podSelector"].get("matchLabels", {}) for one in policies.values()]
    for pod in PODS.values():
        labels = pod["metadata"]["labels"]
        assert [one for one in chosen if one and one.items() <= labels.items()]
    for name, one in policies.items():
        for rule in one.get("ingress", []):
            assert rule["from"], name
        for rule in [*one.get("ingress", []), *one.get("egress", [])]:
            assert rule["ports"], name


@pytest.mark.skipif(KUBECTL is None, reason="kubectl, which has kustomize in it, is not installed")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kustomize_puts_an_overlay_together(overlay: str) -> None:
    done = subprocess.run([str(KUBECTL), "kustomize", KUBERNETES / overlay], capture_output=True, text=True, check=True)
    assert not done.stderr
    built = [one for one in yaml.safe_load_all(done.stdout) if one is not None]
    assert [one for manifest in built for one in wrong(manifest)] == []
    assert {one["metadata"].get("namespace") for one in built if one["kind"] != "Namespace"} == {"recsys"}
    made = pods(built)
    for pod in made.values():
        assert list(unrestricted(pod)) == []
        assert all(re.fullmatch(r"recsys-[a-z-]+:[\w.]+", one["image"]) for one in containers(pod))
    deployment = next(one for one in built if (one["kind"], one["metadata"]["name"]) == ("Deployment", "recsys"))
    home = next(one for one in built if one["metadata"]["name"] == "recsys-home")
    database = environment(made["recsys"]["spec"]["containers"][0])["RECSYS_DATABASE_URL"]["secretKeyRef"]
    if overlay == "small":
        assert (deployment["spec"]["replicas"], database["optional"]) == (1, True)
        assert home["spec"]["accessModes"] == ["ReadWriteOnce"]
        for name in ("recsys-worker", "recsys-backup"):
            assert made[name]["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    else:
        assert "replicas" not in deployment["spec"]
        assert database["optional"] is False
        assert home["spec"]["accessModes"] == ["ReadWriteMany"]
        assert made["recsys-worker-cuda"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
        for name in ("recsys-worker", "recsys-backup"):
            said = environment(made[name]["spec"]["containers"][0])["RECSYS_DATABASE_URL"]
            assert said["secretKeyRef"]["optional"] is False
