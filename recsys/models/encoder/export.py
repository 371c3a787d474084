"""A trained encoder as a folder that encodes by itself: LoRA merged, pooling and unit length inside, tokenizer beside.

Three forms. ``openvino`` is the fastest on a CPU; ``torch`` runs everywhere torch does, in bf16 where the processor
computes in it; ``onnx`` is for other programs and languages. A text has the same vector alone as in any batch.
"""

import contextlib
import importlib.util
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from recsys.artifacts import ArtifactError, digest_file, digest_folder, short_id, verify_folder, write_json
from recsys.callbacks import Progress
from recsys.models.devices import default_device, fitting_memory
from recsys.models.encoder.backbone import Backbone, load_lora, quiet, save_lora
from recsys.models.encoder.kept import TEXTS_AT_ONCE, KeptVectors, distinct, grouped
from recsys.models.encoder.narrow import Distance, Weights, narrow_weights
from recsys.models.encoder.pooling import MEAN, Pooling
from recsys.models.encoder.runtimes import OpenVinoRuntime, Pooled, Runtime, TorchRuntime, import_openvino
from recsys.models.encoder.shared import Shared
from recsys.models.encoder.tokens import AT_ONCE, Tokens, check_length, check_vectors
from recsys.record import Record

Form = Literal["openvino", "torch", "onnx"]
CARD, TOKENIZER = "encoder.json", "tokenizer.json"
ONNX, ONNX_OPSET = "model.onnx", 17
_NAMES = ("input_ids", "attention_mask")


def best_form() -> Form:
    """Return the form that is fastest here: torch on a GPU, else OpenVINO where it is installed."""
    if default_device().type == "cuda" or importlib.util.find_spec("openvino") is None:
        return "torch"
    return "openvino"


@dataclass(frozen=True, kw_only=True)
class EncoderCard(Record):
    """What an export was made from.

    Attributes:
        base: the base model's name; empty where the export is made for one call.
        base_digest: its hash.
        adapter: id of the adapter that is merged into it, or None.
        layout: of files and graph.
        form: see the module; or a folder that other libraries open.
        dimensions: width of a vector.
        padding: the token behind a shorter text.
        pooling: how the vectors of a text's tokens become one.
        longest: tokens of a text that the base reads at most; None: not known.
        weights: what the matrices are kept in.
        distance: what narrower ones move the vectors by; None: they are not, or it was not measured.
        files: the SHA-256 of each file, by its name.
    """

    base: str = ""
    base_digest: str = ""
    adapter: str | None = None
    layout: int = 0
    form: Form | Shared
    dimensions: int
    padding: int
    pooling: Pooling = MEAN
    longest: int | None = None
    weights: Weights = "fp32"
    distance: Distance | None = None
    files: dict[str, str]


def export(backbone: Backbone, folder: Path, form: Form, about: Mapping[str, Any]) -> None:
    """Write a backbone, whose adapter is merged, into an empty folder, with the hash of every file.

    Args:
        backbone: what encodes; its weights are not changed.
        folder: an existing empty folder.
        form: see the module.
        about: what the card says beside shape and files: base, its hash, adapter, layout.

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
    write_card(backbone, folder, form, about)


def write_card(backbone: Backbone, folder: Path, form: Form | Shared, about: Mapping[str, Any]) -> None:
    """Write what a finished folder was made from, with the hash of every file."""
    card = EncoderCard(
        **about,
        form=form,
        dimensions=backbone.hidden_size,
        padding=backbone.tokenizer.pad_token_id or 0,
        pooling=backbone.pooling,
        longest=backbone.longest,
        files=digest_folder(folder),
    )
    write_json(folder / CARD, card.to_dict())


def narrow(folder: Path, weights: Weights, max_tokens: int, sample: Sequence[str]) -> None:
    """Keep the matrices of an ONNX export in fp16 or int8, and write down how far the vectors of some texts move."""
    exact = ExportedEncoder.open(folder, max_tokens, "f32").encode(sample)
    narrow_weights(folder / ONNX, weights)
    card = EncoderCard.read(folder / CARD)
    files = {name: digest_file(folder / name) for name in card.files}
    write_json(folder / CARD, replace(card, weights=weights, files=files).to_dict())
    found = ExportedEncoder.open(folder, max_tokens, "f32").encode(sample)
    distance = Distance.between(exact, found)
    write_json(folder / CARD, replace(card, weights=weights, files=files, distance=distance).to_dict())


def encode_texts(
    backbone: Backbone,
    texts: Sequence[str],
    max_tokens: int,
    progress: Progress | None = None,
    keep: Path | None = None,
) -> NDArray[np.float32]:
    """Return (texts, hidden) float32 unit vectors by an export that is made for this call, in the fastest form.

    They are the vectors that the stored export of this backbone gives later: what is indexed, and what is asked for,
    meet without the noise between two ways to compute. Of many texts, each different one is encoded once.

    Args:
        backbone: a base, with or without LoRA weights; not changed.
        texts: what to encode.
        max_tokens: longer texts are cut.
        progress: called with texts done and texts in all.
        keep: a folder in which the vectors of many texts are written as they come; a call that was killed goes on
            there, and what is returned is mapped from it. None: nothing is kept.

    Raises:
        VectorError: a vector is zero or not finite.
    """
    rows: NDArray[np.int64] | None = None
    if len(texts) > TEXTS_AT_ONCE:
        texts, rows = distinct(texts)
        rows = None if len(texts) == len(rows) else rows
    with tempfile.TemporaryDirectory() as place:
        adapter, folder = Path(place) / "adapter", Path(place) / "encoder"
        folder.mkdir()
        weights: dict[str, str] = {}
        if backbone.adapted:
            save_lora(backbone, adapter)
            weights = digest_folder(adapter)
            backbone = load_lora(adapter, backbone.name, torch.device("cpu"), backbone.base_digest)
        export(backbone, folder, best_form(), {})
        encoder = ExportedEncoder.open(folder, max_tokens)
        kept: KeptVectors | None = None
        if keep is not None and len(texts) > TEXTS_AT_ONCE:
            named = short_id(backbone.base_digest, weights, best_form(), max_tokens, list(texts))
            kept = KeptVectors(keep / named, (len(texts), encoder.dimensions))
        vectors = encoder.encode(texts, progress=progress, kept=kept)
    return vectors if rows is None else vectors[rows]


class ExportedEncoder:
    """Encodes texts with an exported folder. Safe to share between threads.

    Attributes:
        folder: the export.
        card: what it was made from.
        dimensions: width of a vector.
        max_tokens: of a text that are read, the special ones included.
    """

    def __init__(
        self, folder: Path, card: EncoderCard, tokenizer: Tokenizer, runtime: Runtime, max_tokens: int
    ) -> None:
        self.folder = folder
        self.card = card
        self.dimensions = card.dimensions
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
            SettingError: the base reads no texts of so many tokens.
        """
        card = EncoderCard.read(folder / CARD, "Remove the folder; it is made again.")
        verify_folder(folder, card.files | {CARD: digest_file(folder / CARD)})
        if card.form in get_args(Shared):
            raise ArtifactError(
                f"{folder} is for {card.form}, which opens it. Export openvino, torch or onnx to encode."
            )
        check_length(card.base, card.longest, max_tokens)
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        tokenizer.enable_truncation(max_tokens)
        runtime: Runtime
        if card.form == "torch":
            runtime = TorchRuntime(folder, precision, card.pooling)
        else:
            runtime = OpenVinoRuntime(folder, precision)
        return cls(folder, card, tokenizer, runtime, max_tokens)

    def __reduce__(self) -> tuple[Callable[..., "ExportedEncoder"], tuple[Path, int]]:
        """Travel to another process as a folder that is checked and loaded there, in the precision of that place."""
        return ExportedEncoder.open, (self.folder, self.max_tokens)

    def encode(
        self,
        texts: Sequence[str],
        names: Sequence[str] | None = None,
        progress: Progress | None = None,
        kept: KeptVectors | None = None,
    ) -> NDArray[np.float32]:
        """Return (texts, dimensions) float32 unit vectors, in the order of the texts.

        Args:
            texts: what to encode.
            names: what a message calls the texts, ids for instance.
            progress: called with texts done and texts in all.
            kept: the vectors of these texts by this encoder that are there already, and where the others go.

        Raises:
            VectorError: a vector is zero or not finite; the message names its text.
        """
        ids: list[NDArray[np.int64]] = []
        for start in range(0, len(texts), AT_ONCE):
            encoded = self._tokenizer.encode_batch_fast(list(texts[start : start + AT_ONCE]))
            ids += [np.asarray(one.ids, dtype=np.int64) for one in encoded]
        return self.encode_tokens(Tokens(ids, self.card.padding), names, progress, kept)

    def encode_tokens(
        self,
        tokens: Tokens,
        names: Sequence[str] | None = None,
        progress: Progress | None = None,
        kept: KeptVectors | None = None,
    ) -> NDArray[np.float32]:
        """Return what ``encode`` does, of texts that are tokenised already."""
        vectors = np.zeros((len(tokens), self.dimensions), dtype=np.float32) if kept is None else kept.vectors
        if len(tokens) == 0:
            return vectors

        def run(budget: int) -> None:
            batches = list(tokens.buckets(np.arange(len(tokens)), budget))
            groups, before = ([batches], 0) if kept is None else (grouped(batches), kept.done(budget))
            done = sum(len(batch) for group in groups[:before] for batch in group)
            for number, group in enumerate(groups[before:], before + 1):
                for count in self._runtime.run(tokens, group, vectors):
                    done += count
                    if progress:
                        progress(done, len(tokens))
                if kept is not None:
                    kept.mark(budget, number)

        fitting_memory(run, self._runtime.budget, self.max_tokens, "encoding texts")
        check_vectors(vectors, names)
        return vectors if kept is None else kept.mapped()


@contextlib.contextmanager
def _traceable(backbone: Backbone) -> Iterator[tuple[Pooled, tuple[torch.Tensor, torch.Tensor]]]:
    """Yield a module on the CPU and an example; one text of it is padded, so that the mask stays in the graph."""
    model: Any = backbone.model
    device, attention = backbone.device, model.config._attn_implementation
    model.set_attn_implementation("eager")
    ids, mask = torch.full((2, 8), min(100, model.config.vocab_size - 1)), torch.ones(2, 8, dtype=torch.long)
    mask[1, 5:] = 0
    try:
        with torch.inference_mode(), quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracing: shapes stay free, as the tests show
            yield Pooled(model.cpu(), backbone.pooling).eval(), (ids, mask)
    finally:
        model.set_attn_implementation(attention)
        model.to(device)


def _write_torch(backbone: Backbone, folder: Path) -> None:
    model: Any = backbone.model
    model.save_pretrained(folder)  # an ordinary Hugging Face folder


def _write_openvino(backbone: Backbone, folder: Path) -> None:
    openvino = import_openvino()
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
            str(folder / ONNX),
            dynamo=False,  # the newer exporter needs two packages more
            input_names=list(_NAMES),
            output_names=["vectors"],
            dynamic_axes={_NAMES[0]: free, _NAMES[1]: free, "vectors": {0: "texts"}},
            opset_version=ONNX_OPSET,
        )
