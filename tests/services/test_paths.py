"""Sentences that leave the machine without its paths."""

import pytest

from services.edge.paths import without_paths


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("[Errno 17] File exists: '/tmp/a home/encoders'", "[Errno 17] File exists: '…/encoders'"),
        ("/tmp/home/x.safetensors has changed. Ask /readyz.", "…/x.safetensors has changed. Ask /readyz."),
        ("There is no /usr/ann/z.", "There is no …/z."),
        ("sqlite:////tmp/x/events.db is away", "sqlite:///…/events.db is away"),
        ('"/var/lib/x y/z" (or /usr/lib/w, maybe) is gone', '"…/z" (or …/w, maybe) is gone'),
        ("/tmp is full; POST to /v1/recommend", "/tmp is full; POST to /v1/recommend"),
        ("'../../etc/passwd' and https://example.org/tmp/x", "'../../etc/passwd' and https://example.org/tmp/x"),
    ],
)
def test_only_the_last_part_of_a_path_is_said(sentence: str, said: str) -> None:
    assert without_paths(sentence) == said
