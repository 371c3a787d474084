"""Settings of the service that are numbers, as the environment has them."""

import os
from collections.abc import Mapping

from recsys.errors import SettingError


def numbers(variables: Mapping[str, str]) -> dict[str, float]:
    """Return the numbers that variables hold, by the name of their setting; one that is unset or empty is left out.

    Args:
        variables: of the environment, by the name of their setting.

    Raises:
        SettingError: a variable holds no number.
    """
    given = {}
    for name, variable in variables.items():
        value = os.environ.get(variable)
        if value:
            try:
                given[name] = float(value)
            except ValueError:
                raise SettingError(f"{variable} is {value!r}; it must be a number.") from None
    return given
