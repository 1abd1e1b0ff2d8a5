"""How glibc keeps the memory that was freed."""

import ctypes
import os
from contextlib import suppress

# malloc.h, mallopt(3)
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGE_BYTES = 1 << 20


def hold_little() -> None:
    """For a process that reads many spans, before it has threads: one heap for all of them, where glibc would give each
    its own that keeps what was freed in it; and blocks of a megabyte, such as the bodies of large requests, go back to
    the system at once. With texts of 4 KB a span it is a tenth less (`tests.bench`). Where there is no glibc, or
    MALLOC_ARENA_MAX or MALLOC_MMAP_THRESHOLD_ says otherwise, nothing changes.
    """
    with suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        if "MALLOC_ARENA_MAX" not in os.environ:
            mallopt(_M_ARENA_MAX, 1)
        if "MALLOC_MMAP_THRESHOLD_" not in os.environ:
            mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
