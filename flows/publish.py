"""The flow in front of the pointer: judge a generation and serve it, or refuse and leave what is served."""

from flows import progress
from flows.events import REFUSED, tell
from flows.forms import Folder, Named, Reason
from flows.reports import report_bento, report_promotions, report_verdict
from flows.retries import CONFLICT
from flows.runs import flow, run_id, stage
from flows.runtime import open_home
from recsys.config import GateConfig
from recsys.errors import RefusedError
from recsys.home import Home
from recsys.publishing.gate import Verdict
from recsys.store.names import GENERATION, meant
from recsys.store.promotions import Cause

_GATE = GateConfig()


@flow("publish", about={"generation_id": ""}, again=CONFLICT)
def publish_generation(
    generation_id: Named,
    home: Folder | None = None,
    force: bool = False,
    reason: Reason | None = None,
    gate: GateConfig = _GATE,
    bento: bool = False,
) -> Verdict:
    """Serve a generation if it is whole and the gate lets it pass; running services follow within seconds.

    Args:
        generation_id: id or alias of the generation to serve, as recsys generations lists them.
        home: the folder of all state; empty: RECSYS_HOME of whoever runs this.
        force: serve it whatever the gate says, which takes a reason; what is broken is not served even so.
        reason: why, in words, which the log of promotions keeps; empty: nothing is said.
        gate: what the gate lets pass.
        bento: build a Bento that carries it into BentoML's store of whoever runs this, once it is served.

    Raises:
        RefusedError: the gate refused; nothing has changed.
        BentoError: it is served, and BentoML has not built its Bento.
        ArtifactError: the generation is missing or broken; nothing has changed.
        SettingError: the gate is to be overruled without a reason.
    """
    from recsys.publishing.admission import publish  # torch and LanceDB, which whoever lists flows has no use for

    place = open_home(home)
    generation_id = meant(place, GENERATION, generation_id)
    with progress.step("Gate"):
        cause = Cause(run=run_id(), reason=reason or None)
        verdict = publish(place, generation_id, force=force, cause=cause, limits=gate)
    report_verdict(generation_id, verdict, force)
    report_promotions(place)
    if not verdict.passed and not force:
        tell(REFUSED, place, {"generation": generation_id, "findings": list(verdict.findings)})
        raise RefusedError(generation_id, verdict.findings, verdict.objections)
    if bento:
        report_bento(generation_id, build_bento(place, generation_id))
    return verdict


@stage("build-bento", run_name="Bento of {generation_id}")
def build_bento(home: Home, generation_id: str) -> str:
    """Build the service as a Bento that carries a generation; return its tag."""
    from services.bento import build_bento as build  # BentoML, which other runs have no use for

    with progress.step("Build the Bento"):
        return build(home, generation_id).tag
