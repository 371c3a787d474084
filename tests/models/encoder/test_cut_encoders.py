"""An exported encoder whose files are cut short while it is open goes on encoding."""

import subprocess
import sys
from pathlib import Path

import pytest

from recsys.config import LoraConfig

# In a process of its own: reading a mapped page that is gone ends it by SIGBUS.
ENCODING = """
import os, sys
from pathlib import Path

import torch
from recsys.models.encoder.backbone import load_backbone
from recsys.models.encoder.export import ExportedEncoder, export

base, form, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
export(load_backbone(base, torch.device("cpu")), folder, form, {})
encoder = ExportedEncoder.open(folder, 16, "f32")
before = encoder.encode(["a quiet film about the sea"])
for path in folder.iterdir():
    os.truncate(path, 0)
assert (encoder.encode(["a quiet film about the sea"]) == before).all()
assert encoder.encode(["desert sheriff"]).any()
"""


@pytest.mark.parametrize("form", ["openvino", "torch"])
def test_what_is_open_goes_on(tmp_path: Path, form: str) -> None:
    command = [sys.executable, "-c", ENCODING, LoraConfig().base, form, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
