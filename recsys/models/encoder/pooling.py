"""From the vectors of a text's tokens to one vector: by the way that the base was trained with.

A folder of sentence-transformers says it in ``modules.json`` and ``1_Pooling/config.json``, which are read as data. All
others have the mean.
"""

import json
import re
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from recsys.artifacts import ArtifactError

Pooling = Literal["mean", "cls", "max"]
MEAN: Pooling = "mean"
MODULES, PLACE = "modules.json", "1_Pooling"
MOST_BYTES = 1 << 20  # of one of its files
_MODES = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
}  # as releases before 5 have them; newer ones write ``pooling_mode``


def pool(hidden: torch.Tensor, mask: torch.Tensor, how: Pooling) -> torch.Tensor:
    """Return one fp32 vector a text: (texts, tokens, hidden) and (texts, tokens) → (texts, hidden).

    ``mean`` is over the tokens that the mask has, ``max`` the largest of each coordinate over them, ``cls`` the first.
    """
    if how == "cls":
        return hidden[:, 0].float()
    if how == "max":
        return hidden.float().masked_fill(mask.unsqueeze(-1) == 0, -torch.inf).amax(1)
    weights = mask.unsqueeze(-1).float()
    return (hidden.float() * weights).sum(1) / weights.sum(1).clamp_min(1.0)


def read_pooling(source: str) -> Pooling:
    """Return how a base pools, by the files of sentence-transformers in it; the mean where it has none.

    Args:
        source: a folder, or a hub name whose files are cached.

    Raises:
        ArtifactError: it is trained with something else than mean, first token or maximum; the message says with what.
    """
    modules = _read(source, MODULES)
    if modules is None:
        return MEAN
    advice = f"To read it without, by the mean, use a copy of its folder that has no {MODULES}."
    found = MEAN
    try:
        for module in modules:
            kind, place = str(module["type"]).rpartition(".")[2], str(module["path"])
            if kind == "Transformer" and place:
                raise ArtifactError(f"{source} keeps its weights in {place}, which is not read. Name that folder.")
            if kind == "Pooling":
                found = _pooling(source, place, advice)
            elif kind not in ("Transformer", "Normalize"):  # vectors get unit length here in any case
                raise ArtifactError(
                    f"{source} was trained with a {kind} layer behind BERT, which is not read. {advice}"
                )
    except (TypeError, KeyError, AttributeError) as error:
        raise ArtifactError(
            f"{source} has a {MODULES}, or what it names, as sentence-transformers does not write it. {advice}"
        ) from error
    return found


def write_pooling(folder: Path, how: Pooling, width: int) -> None:
    """Write what ``read_pooling`` reads, beside a model's files, by the names that all releases know.

    Args:
        folder: of the model.
        how: it pools.
        width: of a token's vector.
    """
    kinds = (("Transformer", ""), ("Pooling", PLACE), ("Normalize", "2_Normalize"))
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, path) in enumerate(kinds)
    ]
    settings: dict[str, Any] = {"word_embedding_dimension": width}
    settings |= {name: mode == how for name, mode in _MODES.items()} | {"pooling_mode_mean_sqrt_len_tokens": False}
    (folder / PLACE).mkdir()
    for name, value in {MODULES: modules, f"{PLACE}/config.json": settings}.items():
        (folder / name).write_text(json.dumps(value, indent=2) + "\n")


def _pooling(source: str, place: str, advice: str) -> Pooling:
    if not re.fullmatch(r"\w[\w.-]*", place):
        raise ArtifactError(f"{source} has a {MODULES} that names the folder {place!r}. {advice}")
    settings = _read(source, f"{place}/config.json")
    if settings is None:
        raise ArtifactError(f"{source} lacks {place}/config.json, which says how it pools. {advice}")
    modes = settings.get("pooling_mode")
    if modes is None:
        modes = [_MODES.get(name, name) for name, on in settings.items() if name.startswith("pooling_mode_") and on]
    modes = [modes] if isinstance(modes, str) else modes
    if len(modes) != 1 or modes[0] not in get_args(Pooling):
        raise ArtifactError(
            f"{source} pools by {' and '.join(map(str, modes)) or 'nothing'}, which is not read. {advice}"
        )
    found: Pooling = modes[0]
    return found


def _read(source: str, name: str) -> Any:
    """Return a JSON file of a folder or of the hub's cache, None where there is none."""
    from transformers.utils import cached_file  # here: as in backbone.py

    if Path(source).is_dir():
        path: str | None = str(Path(source) / name) if (Path(source) / name).is_file() else None
    else:
        path = cached_file(
            source, name, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
        )
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ValueError(f"it is larger than {MOST_BYTES} bytes")
        return json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{source}: {name} cannot be read ({error}). Restore it.") from None
