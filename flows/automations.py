"""What happens by itself after something has happened to a run or a home: Prefect's automations.

`recsys deploy` makes them. A run whose process is gone is closed, what a crash leaves is tidied, and drift starts a
training. Whatever a person should know of is told by a notification, where `recsys deploy --notify` names a block that
sends one.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, DoNothing, RunDeployment, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

from flows.events import DRIFTED, REFUSED, TRAINING_HELPS

HEARTBEAT_SECONDS = 30  # from one sign of life of a run to the next
SILENCE = timedelta(minutes=5)  # after which a run is taken for dead; a server may be away for two minutes of them
TAG = "recsys"  # of every deployment of ours
WORKING = ("gpu", "cpu")  # tags, and queues, of those that write much; a `tidy` that crashes must not start another
PREFIX = "recsys: "
NOTIFIED = "It tells nobody until `recsys deploy --notify TYPE/NAME` has named a block that sends notifications."
_RUN = "{{ flow_run.name }}: {{ flow_run.state.message }}\n{{ flow_run|ui_url }}"
_EVENT = "{{ event.resource.name }}: {{ event.payload }}"


def automations(tidy: UUID, daily: UUID, block: UUID | None = None) -> Iterator[AutomationCore]:
    """Yield all of them.

    Args:
        tidy: the deployment that tidies.
        daily: the one that trains on newer data.
        block: what sends notifications; None: what a person should know of is only listed in the UI.
    """
    silent = EventTrigger(
        posture=Posture.Proactive,
        after={"prefect.flow-run.heartbeat"},
        expect={"prefect.flow-run.*"},  # another one, or its end
        match={"prefect.resource.id": "prefect.flow-run.*"},
        match_related=_tagged(TAG),
        for_each={"prefect.resource.id"},
        threshold=1,
        within=SILENCE,
    )
    gone = f"No sign of life for {SILENCE.seconds // 60} minutes: its process, its machine or the network is gone."
    close = ChangeFlowRunState(name=None, state=StateType.CRASHED, message=gone, force=False)
    yield _automation("close a run whose process is gone", silent, close, "Each run gives a sign of life every 30 s.")
    crashed = _ended("CRASHED", _tagged(*WORKING))
    yield _automation("tidy after a crash", crashed, _run(tidy), "Of a run of the queues gpu and cpu.")
    helps = "After an alarm of monitor that a training helps against. It runs daily with that deployment's parameters."
    yield _automation("train again after drift", _event(DRIFTED, TRAINING_HELPS), _run(daily), helps)
    for word, trigger, text in (
        ("failed", _ended("FAILED", _tagged(TAG), "!Refused"), _RUN),
        ("crashed", _ended("CRASHED", _tagged(TAG)), _RUN),
        ("late", EventTrigger(expect={"prefect.flow-run.Late"}, match_related=_tagged(TAG)), _RUN),
        ("refused", _event(REFUSED), _EVENT),
        ("drifted", _event(DRIFTED), _EVENT),
    ):
        tell = SendNotification(block_document_id=block, subject=f"recsys: {word}", body=text) if block else DoNothing()
        name = f"tell of what {'is ' if word in ('late', 'refused') else 'has '}{word}"
        yield _automation(name, trigger, tell, NOTIFIED)


def put(client: SyncPrefectClient, wanted: AutomationCore) -> None:
    """Make an automation, or make the one of that name what is wanted; what somebody has it send is kept."""
    found = client.read_automations_by_name(wanted.name)
    if not found:
        client.create_automation(wanted)
        return
    kept = found[0]
    actions = kept.actions if isinstance(wanted.actions[0], DoNothing) else wanted.actions
    changed = wanted.model_copy(update={"actions": actions, "enabled": kept.enabled})
    # An update leaves out what nobody has set, and with it which kind of trigger it is.
    client.update_automation(
        kept.id, AutomationCore.model_validate(changed.model_dump(mode="json", exclude={"owner_resource"}))
    )


def _automation(what: str, trigger: EventTrigger, action: Any, description: str) -> AutomationCore:
    return AutomationCore(name=f"{PREFIX}{what}", description=description, trigger=trigger, actions=[action])


def _run(deployment: UUID) -> RunDeployment:
    return RunDeployment(source="selected", deployment_id=deployment, parameters=None, job_variables=None)


def _ended(state_type: str, related: dict[str, Any], name: str = "*") -> EventTrigger:
    """By the type of a state: its name may be one of ours."""
    match: dict[str, str | list[str]] = {
        "prefect.resource.id": "prefect.flow-run.*",
        "prefect.state-type": state_type,
        "prefect.state-name": name,
    }
    return EventTrigger(expect={"prefect.flow-run.*"}, match=match, match_related=related)


def _event(name: str, labels: Mapping[str, str] | None = None) -> EventTrigger:
    match: dict[str, str | list[str]] = {"prefect.resource.id": "recsys.home.*", **(labels or {})}
    return EventTrigger(expect={name}, match=match)


def _tagged(*tags: str) -> dict[str, Any]:
    return {"prefect.resource.id": [f"prefect.tag.{tag}" for tag in tags], "prefect.resource.role": "tag"}
