"""Whether settings fit the base model that they name: known only once it is loaded, and told before anything trains."""

import difflib
from collections import Counter

from torch import nn

from recsys.config import LoraConfig
from recsys.errors import SettingError
from recsys.models.encoder.backbone import Backbone

ALL = ("all-linear",)


def check_fit(backbone: Backbone, config: LoraConfig, max_tokens: int, lora: str, tokens: str) -> None:
    """Check that a base has the layers that LoRA shall change, and reads texts as long as asked for.

    Args:
        backbone: the base, without an adapter.
        config: names the layers, by the last parts of their names.
        max_tokens: of a text.
        lora: the path of ``config`` among the settings, for the message.
        tokens: the path of ``max_tokens``, likewise.

    Raises:
        SettingError: it does not; the message names all that is wrong, and what the base has.
    """
    layers = {name: isinstance(module, nn.Linear) for name, module in backbone.model.named_modules() if name}
    names = Counter(name.rpartition(".")[2] for name, linear in layers.items() if linear)
    said = []
    for target in () if config.targets == ALL else config.targets:
        found = [linear for name, linear in layers.items() if f".{name}".endswith(f".{target}")]
        if not found or not all(found):
            close = difflib.get_close_matches(target, names, 1)
            said.append(
                f"{lora}.targets: {target!r} is no linear layer of {backbone.name}, which has "
                f"{', '.join(f'{name} ({count})' for name, count in sorted(names.items()))}."
                + (f" Did you mean {close[0]!r}?" if close else "")
            )
    if backbone.longest is not None and backbone.longest < max_tokens:
        said.append(f"{tokens} is {max_tokens}; {backbone.name} reads {backbone.longest} at most.")
    if said:
        raise SettingError("\n".join(said))
