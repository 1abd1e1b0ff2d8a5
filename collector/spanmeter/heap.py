"""How memory that is not used any more is kept: by glibc, and by Python until it looks for cycles."""

import ctypes
import gc
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


def collect_rarely(objects: int = 10_000) -> None:
    """Let Python look for unreachable cycles less often, where spans are handled by the million: these hold none, and
    to walk through all that waits costs up to a fifth of the time. It looks when there are so many `objects` more than
    the last time, and never at what was loaded until now. gRPC's server leaves three objects in a cycle with each
    request, some 450 bytes: so rare, and no rarer."""
    gc.freeze()
    gc.set_threshold(objects, 20, 100)
