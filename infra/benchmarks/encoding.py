"""How fast texts become vectors beside sentence-transformers, in one run: interleaved, paired, repeated.

    python infra/benchmarks/encoding.py items.parquet --out infra/results/encoding.json

Every repeat times all systems one after the other on the same texts, tokenising included; a ratio is the median of the
ratios within the repeats, so that whatever else the machine does weighs on both sides. The matrix rates say how much
faster bf16 can be at all on the processor. sentence-transformers is installed for this alone.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from recsys.artifacts import write_json
from recsys.config import LoraConfig, TextConfig
from recsys.models.devices import has_cpu_bf16
from recsys.models.encoder.backbone import base_folder, load_backbone
from recsys.models.encoder.export import ExportedEncoder, export
from recsys.models.encoder.tokens import tokenize
from recsys.texts.tables import read_texts

BASE = LoraConfig().base
REFERENCE = "sentence-transformers fp32"
Encode = Callable[[list[str]], NDArray[np.float32]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path, help="a catalogue or a table of texts")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()

    limit = TextConfig().max_tokens
    everything = read_texts(options.texts)["text"].to_list()
    chosen = np.random.default_rng(0).choice(len(everything), min(options.rows, len(everything)), replace=False)
    own = [everything[row] for row in chosen]
    # every text fills the window
    full = [" ".join(own[(row + step) % len(own)] for step in range(limit)) for row in range(len(own) // 2)]
    with tempfile.TemporaryDirectory() as place:
        systems = _systems(Path(place), limit)
        document = {
            "command": f"python infra/benchmarks/encoding.py {options.texts.name} "
            f"--rows {options.rows} --repeats {options.repeats}",
            "machine": _machine(),
            "load_before": os.getloadavg(),
            "workloads": {
                "catalogue texts": _measure(systems, own, limit, options.repeats),
                f"texts of {limit} tokens": _measure(systems, full, limit, options.repeats),
            },
            "matrix_gflops": _matrix_rates(),
            "load_after": os.getloadavg(),
        }
    write_json(options.out, document)
    for name, part in document["workloads"].items():
        print(f"{name}: {part['mean_tokens']:.0f} tokens")
        for system, row in part["systems"].items():
            rate = f"{row['items_per_second']:7.0f} items/s  x{row['ratio']:.2f}"
            print(f"  {system:28} {rate}  1-cos {row['distance']:.1e}")
    print("matrix rates, GFLOP/s:", document["matrix_gflops"])


def _systems(place: Path, limit: int) -> dict[str, Encode]:
    reference = SentenceTransformer(base_folder(BASE), device="cpu")
    reference.max_seq_length = limit
    systems: dict[str, Encode] = {
        REFERENCE: lambda texts: np.asarray(reference.encode(texts, normalize_embeddings=True))
    }
    backbone = load_backbone(BASE, torch.device("cpu"))
    for form in ("openvino", "torch"):
        (place / form).mkdir()
        export(backbone, place / form, form, {})
        for precision in ("bf16", "f32") if has_cpu_bf16() else ("f32",):
            systems[f"{form} {precision}"] = ExportedEncoder.open(place / form, limit, precision).encode
    return systems


def _measure(systems: dict[str, Encode], texts: list[str], limit: int, repeats: int) -> dict[str, Any]:
    lengths = [len(row) for row in tokenize(load_backbone(BASE, torch.device("cpu")), texts, limit).ids]
    vectors = {name: encode(texts) for name, encode in systems.items()}  # warms up, too
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for repeat in range(repeats):
        names = list(systems) if repeat % 2 == 0 else list(systems)[::-1]
        for name in names:
            started = time.perf_counter()
            systems[name](texts)
            seconds[name].append(time.perf_counter() - started)
    rows = {}
    for name in systems:
        ratios = [reference / own for reference, own in zip(seconds[REFERENCE], seconds[name], strict=True)]
        some = range(0, len(texts), max(1, len(texts) // 16))
        alone = min(float(systems[name]([texts[row]])[0] @ vectors[name][row]) for row in some)
        rows[name] = {
            "items_per_second": round(len(texts) / statistics.median(seconds[name]), 1),
            "ratio": round(statistics.median(ratios), 3),
            "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
            "distance": float(f"{max(0.0, 1 - (vectors[name] * vectors[REFERENCE]).sum(axis=1).min()):.2e}"),
            "cosine_alone_and_in_a_batch": round(alone, 7),
        }
    return {"texts": len(texts), "mean_tokens": round(float(np.mean(lengths)), 1), "repeats": repeats, "systems": rows}


def _matrix_rates() -> dict[str, float]:
    """Return the best measured GFLOP/s of products of this encoder's size, all threads; and bf16 over fp32."""
    rates = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        left, layer = torch.randn(2048, 384).to(dtype), torch.nn.Linear(384, 1536).to(dtype)
        best = float("inf")
        with torch.inference_mode():
            for _ in range(50):
                started = time.perf_counter()
                layer(left)
                best = min(best, time.perf_counter() - started)
        rates[name] = round(2 * 2048 * 384 * 1536 / best / 1e9, 1)
    return rates | {"bf16_over_fp32": round(rates["bf16"] / rates["fp32"], 2)}


def _machine() -> str:
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ": unknown")
    return f"{model.split(':')[1].strip()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


if __name__ == "__main__":
    main()
