"""Reading the tensors of a file: small files whole, large ones mapped, so that processes share their pages."""

from pathlib import Path

import torch
from safetensors.torch import load, load_file

from recsys.artifacts import MAPPED_FROM


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file by their names, on the CPU."""
    return load_file(path) if path.stat().st_size >= MAPPED_FROM else load(path.read_bytes())
