"""What computes an exported encoder, tokens in and unit vectors out: torch, or OpenVINO, which reads ONNX too.

Each knows how many tokens a batch may hold where it runs, and keeps a processor or a GPU busy between two batches.
"""

import contextlib
import copy
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from recsys.artifacts import ArtifactError
from recsys.models.devices import computes_bf16, default_device, has_cpu_bf16
from recsys.models.encoder.backbone import load_model
from recsys.models.encoder.families import MIXED, read_kind
from recsys.models.encoder.pooling import Pooling, pool
from recsys.models.encoder.tokens import Tokens

# Padded tokens a batch: on a CPU small ones stay in the caches, a GPU idles between them.
OPENVINO_TOKENS, TORCH_TOKENS, GPU_TOKENS = 1024, 4096, 65_536
MAX_STREAMS = 16
# From this size on, weights stay in their file, which the processes of a machine map together. One that is cut short
# then ends whoever reads there; smaller ones are read whole.
MAPPED_WEIGHTS = 1 << 27  # bytes


class Runtime(Protocol):
    """Fills rows of ``vectors`` (texts, hidden) for some batches of texts; yields how many texts each batch held.

    Attributes:
        budget: padded tokens a batch, at most.
    """

    budget: int

    def run(
        self, tokens: Tokens, batches: Sequence[NDArray[np.integer]], vectors: NDArray[np.float32]
    ) -> Iterator[int]: ...


class Pooled(torch.nn.Module):
    """Token ids and mask, both (texts, tokens) → unit vectors (texts, hidden)."""

    def __init__(self, model: torch.nn.Module, pooling: Pooling) -> None:
        super().__init__()
        self.model, self.pooling = model, pooling

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, even: bool = False) -> torch.Tensor:
        seen = None if even else attention_mask
        hidden = self.model(input_ids=input_ids, attention_mask=seen).last_hidden_state
        return functional.normalize(pool(hidden, attention_mask, self.pooling), dim=1)


class TorchRuntime:
    """Runs a Hugging Face folder on the device there is, in bf16 where that computes in it."""

    def __init__(self, folder: Path, precision: str | None, pooling: Pooling) -> None:
        self._device = default_device()
        self.budget = GPU_TOKENS if self._device.type == "cuda" else TORCH_TOKENS
        low = precision == "bf16" or (precision is None and computes_bf16(self._device))
        low = low and read_kind(str(folder))[0].model_type not in MIXED
        model = load_model(str(folder), torch.bfloat16 if low else torch.float32, attention="sdpa")
        if not _stay_mapped(folder):
            model = copy.deepcopy(model)  # what kept its type was a view of the file
        self._module = Pooled(model.to(self._device), pooling).eval()

    def run(
        self, tokens: Tokens, batches: Sequence[NDArray[np.integer]], vectors: NDArray[np.float32]
    ) -> Iterator[int]:
        waiting: tuple[torch.Tensor, NDArray[np.integer]] | None = None
        for indices in batches:
            with torch.inference_mode():
                found = self._module(*tokens.batch(indices, self._device), tokens.are_even(indices))
            if waiting is not None:  # read only now: a GPU computes one batch while the next is being laid out
                yield _read(*waiting, vectors)
            waiting = found, indices
        if waiting is not None:
            yield _read(*waiting, vectors)


class OpenVinoRuntime:
    """Runs OpenVINO's own form, and ONNX. Each stream is one thread with batches of its own: none waits for another."""

    budget = OPENVINO_TOKENS

    def __init__(self, folder: Path, precision: str | None) -> None:
        openvino = import_openvino()
        core = openvino.Core()
        if precision is None:
            able = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            precision = "bf16" if able and has_cpu_bf16() else "f32"
        threads = torch.get_num_threads()  # follows OMP_NUM_THREADS
        self._streams = min(threads, MAX_STREAMS)
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "NUM_STREAMS": str(self._streams),
            "INFERENCE_NUM_THREADS": threads,
        }
        name = "model.onnx" if (folder / "model.onnx").is_file() else "model.xml"
        core.set_property({"ENABLE_MMAP": _stay_mapped(folder)})
        self._compiled = core.compile_model(str(folder / name), "CPU", settings)
        self._idle: list[Any] = []  # requests hold buffers that are worth keeping
        self._lock = threading.Lock()

    def run(
        self, tokens: Tokens, batches: Sequence[NDArray[np.integer]], vectors: NDArray[np.float32]
    ) -> Iterator[int]:
        cpu = torch.device("cpu")
        with contextlib.ExitStack() as stack:
            requests = [stack.enter_context(self._request()) for _ in range(min(self._streams, len(batches)))]
            waiting: list[tuple[Any, NDArray[np.integer]]] = []
            # The longest texts first, so that no stream is left with them at the end.
            for number, indices in enumerate(reversed(batches)):
                if len(waiting) == len(requests):
                    yield _collect(*waiting.pop(0), vectors)
                request = requests[number % len(requests)]
                request.start_async([tensor.numpy() for tensor in tokens.batch(indices, cpu)])
                waiting.append((request, indices))
            for request, indices in waiting:
                yield _collect(request, indices, vectors)

    @contextlib.contextmanager
    def _request(self) -> Iterator[Any]:
        with self._lock:
            request = self._idle.pop() if self._idle else self._compiled.create_infer_request()
        try:
            yield request
        finally:
            request.wait()
            with self._lock:
                self._idle.append(request)


def _stay_mapped(folder: Path) -> bool:
    return sum(path.stat().st_size for path in folder.iterdir()) >= MAPPED_WEIGHTS


def _read(found: torch.Tensor, indices: NDArray[np.integer], vectors: NDArray[np.float32]) -> int:
    vectors[indices] = found.cpu().numpy()
    return len(indices)


def _collect(request: Any, indices: NDArray[np.integer], vectors: NDArray[np.float32]) -> int:
    request.wait()
    vectors[indices] = request.get_output_tensor(0).data
    return len(indices)


def import_openvino() -> Any:
    """Import OpenVINO without the package by which it would report to its makers as soon as it is imported.

    Raises:
        ArtifactError: it is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise ArtifactError(f"This form needs OpenVINO ({error}). Run `pip install openvino`.") from error
    return openvino
