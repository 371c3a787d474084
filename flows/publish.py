"""The flow in front of the pointer: judge a generation and serve it, or refuse and leave what is served."""

from prefect import flow

from flows import progress
from flows.reports import report_verdict
from flows.runtime import open_home
from recsys.publishing.admission import publish
from recsys.publishing.gate import Verdict


class RefusedError(Exception):
    """The gate refused a generation; the one that was served still is."""

    def __init__(self, generation_id: str, verdict: Verdict) -> None:
        super().__init__(generation_id, verdict)
        self.generation_id = generation_id
        self.verdict = verdict

    def __str__(self) -> str:
        findings = " ".join(self.verdict.findings)
        return f"The gate refused generation {self.generation_id}. {findings} Train a better one, or use force."


@flow(name="publish")
def publish_generation(generation_id: str, home: str | None = None, force: bool = False) -> Verdict:
    """Serve a generation if the gate lets it pass; running services follow within seconds.

    Args:
        generation_id: what to serve.
        home: the folder of all state; empty: RECSYS_HOME of whoever runs this.
        force: serve it whatever the gate says.

    Raises:
        RefusedError: the gate refused; nothing has changed.
        ArtifactError: the generation is missing or broken; nothing has changed.
    """
    with progress.step("Gate"):
        verdict = publish(open_home(home), generation_id, force)
    report_verdict(generation_id, verdict, force)
    if not verdict.passed and not force:
        raise RefusedError(generation_id, verdict)
    return verdict
