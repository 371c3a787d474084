"""Longer copies of arrays that lie in mapped files: only what is written to takes memory, the rest stays shared.

The file's pages are mapped once more, privately, to the beginning of a region whose rest is empty. Where that cannot
be done (an array of one's own memory, a file that is gone, a system without ``/proc``) the array is copied.
"""

import ctypes
import mmap
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MAPS = Path("/proc/self/maps")
LEAST_BYTES = 1 << 18  # below it a copy takes less time and hardly more memory
MAP_FIXED = 0x10  # on Linux; the module mmap does not name it
_FAILED = ctypes.c_void_p(-1).value


@dataclass(frozen=True)
class _Place:
    """Where an array lies: so many bytes behind the beginning of a file."""

    path: str
    inode: int
    offset: int


def grown(array: NDArray[np.float32], rows: int) -> NDArray[np.float32]:
    """Return an array that can be written to: a C-contiguous one's rows, and so many of any content behind them."""
    place = _place(array) if array.nbytes >= LEAST_BYTES else None
    if place is not None:
        try:
            return _stitched(array, place, rows)
        except OSError:
            pass  # gone since, or no room for another mapping
    return np.concatenate([array, np.zeros((rows, *array.shape[1:]), dtype=array.dtype)])


def _stitched(array: NDArray[np.float32], place: _Place, rows: int) -> NDArray[np.float32]:
    with open(place.path, "rb") as file:
        if os.fstat(file.fileno()).st_ino != place.inode:
            raise FileNotFoundError(place.path)
        lead = place.offset % mmap.ALLOCATIONGRANULARITY
        shape = (len(array) + rows, *array.shape[1:])
        size = lead + int(np.prod(shape)) * array.itemsize
        region = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        mapped = _libc_mmap()(
            ctypes.addressof(ctypes.c_char.from_buffer(region)),
            lead + array.nbytes,
            mmap.PROT_READ | mmap.PROT_WRITE,
            mmap.MAP_PRIVATE | MAP_FIXED,
            file.fileno(),
            place.offset - lead,
        )
        if mapped == _FAILED:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    # The region unmaps itself, the file's pages with it, when the last array over it is gone.
    return np.frombuffer(region, array.dtype, int(np.prod(shape)), lead).reshape(shape)


def _libc_mmap() -> "ctypes._FuncPointer":
    function = ctypes.CDLL(None, use_errno=True).mmap
    function.restype = ctypes.c_void_p
    function.argtypes = [
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long
    ]  # fmt: skip
    return function


def _place(array: NDArray[np.float32]) -> _Place | None:
    """Return the file that an array is mapped from, or None."""
    if not array.flags.c_contiguous or not MAPS.exists():
        return None
    first = array.ctypes.data
    for line in MAPS.read_text().splitlines():
        ends, _, begin, _, inode, *path = line.split(maxsplit=5)
        low, high = (int(end, 16) for end in ends.split("-"))
        if low <= first < high:
            whole = first + array.nbytes <= high
            if not whole or not path or not path[0].startswith("/") or path[0].endswith(" (deleted)"):
                return None
            return _Place(path[0], int(inode), int(begin, 16) + first - low)
    return None
