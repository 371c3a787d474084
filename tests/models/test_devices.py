"""What a processor computes in: bf16 where it has instructions for it and oneDNN may use them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from recsys.config import LoraConfig
from recsys.models.devices import ISA_LIMITS, autocast, has_cpu_bf16
from recsys.models.encoder.backbone import load_backbone
from recsys.models.encoder.export import export

pytestmark = pytest.mark.processor
ENCODES = """
import sys
from pathlib import Path
from recsys.models.encoder.export import ExportedEncoder
print(ExportedEncoder.open(Path(sys.argv[1]), 16).encode(["a quiet film"]).shape)
"""


@pytest.fixture
def newest(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A processor with bf16 instructions, whatever this one has, and no limit on their use."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    for name in ISA_LIMITS:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("limit", "able"),
    [
        ("AVX2", False),
        ("avx512_core_vnni", False),
        ("AVX512_CORE_BF16", True),
        ("AVX512_CORE_AMX", True),
        ("ALL", True),
    ],
)
@pytest.mark.parametrize("name", ISA_LIMITS)
def test_what_onednn_may_not_use_is_not_there(newest: pytest.MonkeyPatch, name: str, limit: str, able: bool) -> None:
    assert has_cpu_bf16()
    newest.setenv(name, limit)
    assert has_cpu_bf16() is able
    assert autocast(torch.device("cpu"))._enabled is able


def test_of_two_limits_onednn_reads_its_newer_name(newest: pytest.MonkeyPatch) -> None:
    newest.setenv("DNNL_MAX_CPU_ISA", "AVX2")
    newest.setenv("ONEDNN_MAX_CPU_ISA", "ALL")
    assert has_cpu_bf16()


@pytest.mark.parametrize("form", ["openvino", "torch"])
def test_an_export_encodes_under_a_limit(form: str, tmp_path: Path) -> None:
    """OpenVINO has a oneDNN of its own, which has no bf16 kernels then and fails if asked for them."""
    export(load_backbone(LoraConfig().base, torch.device("cpu")), tmp_path, form, {})
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", ENCODES, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(1, 384)"
