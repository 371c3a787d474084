"""The BentoML service: what callers see, what a worker holds, what stands around every request."""

import sys
from importlib.util import find_spec
from pathlib import Path

import recsys  # noqa: F401 - before BentoML is: it turns off what BentoML would report

# In a Bento that was built in a clone nothing of the project is installed, and the client lies where the clone has it.
_CLIENT = Path(__file__).parent / "python-client"
if _CLIENT.is_dir() and find_spec("recsys_client") is None:
    sys.path.append(str(_CLIENT))
