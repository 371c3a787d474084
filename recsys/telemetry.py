"""Nothing that this project is made of reports on its use: the switches of every package, in one place.

The packages read them as they are imported, so ``recsys``, ``flows`` and ``services`` turn them as the first thing they
do, and hand them to every process that they start. What a user has set stays.
"""

import os
from collections.abc import Mapping

SWITCHES = {
    "DO_NOT_TRACK": "1",  # Prefect's client (by amplitude-analytics), huggingface_hub, transformers
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",  # the server's heartbeat; a client asks its server for this too
    "BENTOML_DO_NOT_TRACK": "True",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",  # where Ray is installed beside Prefect
}
# openvino_telemetry has no switch: `recsys.models.encoder.runtimes.import_openvino` keeps it from being imported.


def switched_off(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with every switch that it does not set turned."""
    chosen = SWITCHES | dict(environment)
    if chosen["BENTOML_DO_NOT_TRACK"].lower() in ("1", "yes", "on"):  # meant, and not understood
        chosen["BENTOML_DO_NOT_TRACK"] = SWITCHES["BENTOML_DO_NOT_TRACK"]
    return chosen


def switch_off() -> None:
    """Turn the switches in this process; it takes effect on what is imported, or started, afterwards."""
    os.environ.update(switched_off(os.environ))
