"""A trained encoder as a folder that encodes by itself: LoRA merged, pooling and unit length inside, tokenizer beside.

Three forms. ``openvino`` is the fastest on a CPU; ``torch`` runs everywhere torch does, in bf16 where the processor
computes in it; ``onnx`` is for other programs and languages. A text has the same vector alone as in any batch.
"""

import contextlib
import importlib.util
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch.nn import functional

from recsys.artifacts import ArtifactError, digest_file, digest_folder, read_json, verify_folder, write_json
from recsys.callbacks import Progress
from recsys.models.devices import computes_bf16, default_device, fitting_memory, has_cpu_bf16
from recsys.models.encoder.backbone import Backbone, load_lora, load_model, mean_pool, quiet, save_lora
from recsys.models.encoder.tokens import Tokens, check_vectors

Form = Literal["openvino", "torch", "onnx"]
CARD, TOKENIZER = "encoder.json", "tokenizer.json"
# Padded tokens a batch: on a CPU small ones stay in the caches, a GPU idles between them.
OPENVINO_TOKENS, TORCH_TOKENS, GPU_TOKENS = 1024, 4096, 65_536
MAX_STREAMS = 16
ONNX_OPSET = 17
_NAMES = ("input_ids", "attention_mask")


class _Runtime(Protocol):
    """Fills rows of ``vectors`` (texts, hidden) for some batches of texts; yields how many texts each batch held.

    Attributes:
        budget: padded tokens a batch, at most.
    """

    budget: int

    def run(
        self, tokens: Tokens, batches: Sequence[NDArray[np.integer]], vectors: NDArray[np.float32]
    ) -> Iterator[int]: ...


def best_form() -> Form:
    """Return the form that is fastest here: torch on a GPU, else OpenVINO where it is installed."""
    if default_device().type == "cuda" or importlib.util.find_spec("openvino") is None:
        return "torch"
    return "openvino"


def export(backbone: Backbone, folder: Path, form: Form, about: dict[str, Any]) -> None:
    """Write a backbone, whose adapter is merged, into an empty folder, with the hash of every file.

    Args:
        backbone: what encodes; its weights are not changed.
        folder: an existing empty folder.
        form: see the module.
        about: what the card says beside shape and files: base, its hash, adapter.

    Raises:
        ArtifactError: the form needs a package that is not installed.
    """
    if form not in get_args(Form):
        raise ArtifactError(f"There is no form {form!r}; there are {', '.join(get_args(Form))}.")
    tokenizer = Tokenizer.from_str(backbone.tokenizer.backend_tokenizer.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.save(str(folder / TOKENIZER))
    {"openvino": _write_openvino, "torch": _write_torch, "onnx": _write_onnx}[form](backbone, folder)
    card = {"form": form, "dimensions": backbone.hidden_size, "padding": backbone.tokenizer.pad_token_id or 0}
    write_json(folder / CARD, {**about, **card, "files": digest_folder(folder)})


def encode_texts(
    backbone: Backbone, texts: Sequence[str], max_tokens: int, progress: Progress | None = None
) -> NDArray[np.float32]:
    """Return (texts, hidden) float32 unit vectors by an export that is made for this call, in the fastest form.

    They are the vectors that the stored export of this backbone gives later: what is indexed, and what is asked for,
    meet without the noise between two ways to compute.

    Args:
        backbone: a base, with or without LoRA weights; not changed.
        texts: what to encode.
        max_tokens: longer texts are cut.
        progress: called with texts done and texts in all.

    Raises:
        FloatingPointError: a vector is zero or not finite.
    """
    with tempfile.TemporaryDirectory() as place:
        adapter, folder = Path(place) / "adapter", Path(place) / "encoder"
        folder.mkdir()
        if backbone.adapted:
            save_lora(backbone, adapter)
            backbone = load_lora(adapter, backbone.name, torch.device("cpu"))
        export(backbone, folder, best_form(), {})
        return ExportedEncoder.open(folder, max_tokens).encode(texts, progress=progress)


class ExportedEncoder:
    """Encodes texts with an exported folder. Safe to share between threads.

    Attributes:
        card: what the export was made from.
        dimensions: width of a vector.
        max_tokens: of a text that are read, the special ones included.
    """

    def __init__(self, card: dict[str, Any], tokenizer: Tokenizer, runtime: _Runtime, max_tokens: int) -> None:
        self.card = card
        self.dimensions: int = card["dimensions"]
        self.max_tokens = max_tokens
        self._tokenizer = tokenizer
        self._runtime = runtime

    @classmethod
    def open(cls, folder: Path, max_tokens: int, precision: Literal["bf16", "f32"] | None = None) -> "ExportedEncoder":
        """Check every file of an export and load it.

        Args:
            folder: what ``export`` wrote.
            max_tokens: longer texts are cut.
            precision: of the matrix products; None: bf16 where the processor computes in it, else f32.

        Raises:
            ArtifactError: a file is missing or changed, or the form cannot be run here.
        """
        card = read_json(folder / CARD)
        verify_folder(folder, card["files"] | {CARD: digest_file(folder / CARD)})
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        tokenizer.enable_truncation(max_tokens)
        runtime = _TorchRuntime(folder, precision) if card["form"] == "torch" else _OpenVino(folder, precision)
        return cls(card, tokenizer, runtime, max_tokens)

    def encode(
        self, texts: Sequence[str], names: Sequence[str] | None = None, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Return (texts, dimensions) float32 unit vectors, in the order of the texts.

        Args:
            texts: what to encode.
            names: what a message calls the texts, ids for instance.
            progress: called with texts done and texts in all.

        Raises:
            FloatingPointError: a vector is zero or not finite; the message names its text.
        """
        encoded = self._tokenizer.encode_batch_fast(list(texts))
        tokens = Tokens([np.asarray(one.ids, dtype=np.int64) for one in encoded], self.card["padding"])
        return self.encode_tokens(tokens, names, progress)

    def encode_tokens(
        self, tokens: Tokens, names: Sequence[str] | None = None, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Return what ``encode`` does, of texts that are tokenised already."""
        vectors = np.zeros((len(tokens), self.dimensions), dtype=np.float32)
        if len(tokens) == 0:
            return vectors

        def run(budget: int) -> None:
            done = 0
            batches = list(tokens.buckets(np.arange(len(tokens)), budget))
            for count in self._runtime.run(tokens, batches, vectors):
                done += count
                if progress:
                    progress(done, len(tokens))

        fitting_memory(run, self._runtime.budget, self.max_tokens, "encoding texts")
        check_vectors(vectors, names)
        return vectors


class _Pooled(torch.nn.Module):
    """Token ids and mask, both (texts, tokens) → unit vectors (texts, hidden)."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, even: bool = False) -> torch.Tensor:
        seen = None if even else attention_mask
        hidden = self.model(input_ids=input_ids, attention_mask=seen).last_hidden_state
        return functional.normalize(mean_pool(hidden, attention_mask), dim=1)


@contextlib.contextmanager
def _traceable(backbone: Backbone) -> Iterator[tuple[_Pooled, tuple[torch.Tensor, torch.Tensor]]]:
    """Yield a module on the CPU and an example; one text of it is padded, so that the mask stays in the graph."""
    model: Any = backbone.model
    device, attention = backbone.device, model.config._attn_implementation
    model.set_attn_implementation("eager")
    ids, mask = torch.full((2, 8), 100), torch.ones(2, 8, dtype=torch.long)
    mask[1, 5:] = 0
    try:
        with torch.inference_mode(), quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracing: shapes stay free, as the tests show
            yield _Pooled(model.cpu()).eval(), (ids, mask)
    finally:
        model.set_attn_implementation(attention)
        model.to(device)


def _write_torch(backbone: Backbone, folder: Path) -> None:
    model: Any = backbone.model
    model.save_pretrained(folder)  # an ordinary Hugging Face folder


def _write_openvino(backbone: Backbone, folder: Path) -> None:
    openvino = _import_openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with _traceable(backbone) as (module, example):
        traced = torch.jit.trace(module, example, check_trace=False, strict=False)
        decoder = TorchScriptPythonDecoder(traced)  # OpenVINO only borrows it: it must outlive the conversion
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
    model.validate_nodes_and_infer_types()
    openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)


def _write_onnx(backbone: Backbone, folder: Path) -> None:
    if importlib.util.find_spec("onnx") is None:
        raise ArtifactError("Writing ONNX needs the package onnx. Run `pip install 'recsys[onnx]'`.")
    free = {0: "texts", 1: "tokens"}
    with _traceable(backbone) as (module, example):
        torch.onnx.export(
            module,
            example,
            str(folder / "model.onnx"),
            dynamo=False,  # the newer exporter needs two packages more
            input_names=list(_NAMES),
            output_names=["vectors"],
            dynamic_axes={_NAMES[0]: free, _NAMES[1]: free, "vectors": {0: "texts"}},
            opset_version=ONNX_OPSET,
        )


class _TorchRuntime:
    def __init__(self, folder: Path, precision: str | None) -> None:
        self._device = default_device()
        self.budget = GPU_TOKENS if self._device.type == "cuda" else TORCH_TOKENS
        low = precision == "bf16" or (precision is None and computes_bf16(self._device))
        model = load_model(str(folder), torch.bfloat16 if low else torch.float32, attention="sdpa")
        self._module = _Pooled(model.to(self._device)).eval()

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


class _OpenVino:
    """Runs OpenVINO's own form, and ONNX. Each stream is one thread with batches of its own: none waits for another."""

    budget = OPENVINO_TOKENS

    def __init__(self, folder: Path, precision: str | None) -> None:
        openvino = _import_openvino()
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


def _read(found: torch.Tensor, indices: NDArray[np.integer], vectors: NDArray[np.float32]) -> int:
    vectors[indices] = found.cpu().numpy()
    return len(indices)


def _collect(request: Any, indices: NDArray[np.integer], vectors: NDArray[np.float32]) -> int:
    request.wait()
    vectors[indices] = request.get_output_tensor(0).data
    return len(indices)


def _import_openvino() -> Any:
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
