"""A full disk is told as such: by whom it was met, where, how much is left, and what to do."""

import errno
from collections import namedtuple
from pathlib import Path

import pytest

from flows.commands.terminal import FAILED, shell
from flows.disk import full_disk


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError("No space left on device (os error 28): /data/items.parquet"),  # Polars
        RuntimeError("lance error: LanceError(IO): No space left on device (os error 28), object_store.rs:1000:21"),
        ValueError("(sqlite3.OperationalError) database or disk is full"),
    ],
    ids=["python", "quota", "polars", "lancedb", "sqlite"],
)
def test_whoever_meets_a_full_disk_says_so(error: Exception, tmp_path: Path) -> None:
    said = full_disk(error, tmp_path)
    assert said is not None
    assert said.startswith(f"The disk of {tmp_path} is full: ")
    assert "MB are free" in said
    assert "recsys prune --dry-run" in said


def test_the_file_that_is_named_is_told_and_what_led_to_an_error_counts(tmp_path: Path) -> None:
    elsewhere = tmp_path / "out" / "vectors.parquet"
    led = OSError(errno.ENOSPC, "No space left on device", str(elsewhere))
    try:
        try:
            raise led
        except OSError as error:
            raise RuntimeError("The training ended.") from error
    except RuntimeError as error:
        said = full_disk(error, Path("/home"))
    assert said is not None
    assert f"The disk of {elsewhere} is full" in said
    assert f"free below {tmp_path}." in said


def test_other_errors_are_none(tmp_path: Path) -> None:
    assert full_disk(OSError(errno.EACCES, "Permission denied"), tmp_path) is None


@pytest.mark.parametrize("said", ["unable to open database file", "disk I/O error"])
def test_what_sqlite_fails_with_on_a_full_disk_is_told_where_it_is_full(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = RuntimeError(f"(sqlite3.OperationalError) {said}")
    assert full_disk(error, tmp_path) is None
    used = namedtuple("used", ["total", "used", "free"])(10**9, 10**9, 0)
    monkeypatch.setattr("flows.disk.shutil.disk_usage", lambda path: used)
    assert "0 MB are free" in str(full_disk(error, tmp_path))


def test_a_command_says_it_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import typer

    with pytest.raises(typer.Exit) as ended, shell(tmp_path / "home", False, False):
        raise RuntimeError("lance error: No space left on device (os error 28)")
    assert ended.value.exit_code == FAILED
    told = capsys.readouterr().err
    assert f"Error: The disk of {tmp_path / 'home'} is full" in told
    assert "bug" not in told
