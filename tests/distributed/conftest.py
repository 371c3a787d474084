"""A Ray cluster of two nodes, where Ray is installed."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray_nodes import Nodes, two_nodes


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    """Two nodes of one processor each; whoever removes one adds another."""
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    try:
        with two_nodes(folder) as started:
            yield started
    finally:
        shutil.rmtree(folder, ignore_errors=True)
