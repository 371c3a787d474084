"""The client under its old name, for one release: import ``recsys_client`` instead.

It is a distribution of its own now (``services/python-client``), which is installed without the service.
"""

import warnings

from recsys_client import *  # noqa: F403
from recsys_client import UserOrHistory as Person  # noqa: F401

warnings.warn(
    "services.client is recsys_client now (pip install recsys-client), and its Person is UserOrHistory; "
    "the old names go with the next release.",
    DeprecationWarning,
    stacklevel=2,  # the importer's line
)
