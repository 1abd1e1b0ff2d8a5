"""Data folders that run full, and get room again: a small file system, or a limit on the size of files."""

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest


class Room(Protocol):
    """`narrow` is called when the collector runs, `widen` when it is to recover."""

    def narrow(self, pid: int) -> None: ...

    def widen(self, pid: int) -> None: ...


class SmallFileSystem:
    """A tmpfs: writes fail with ENOSPC, as on a full disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def narrow(self, pid: int) -> None:
        """It is small from the beginning."""

    def widen(self, pid: int) -> None:
        self._mount("remount,size=256m")

    def mount(self) -> bool:
        self._folder.mkdir()
        return self._mount("size=1536k")

    def unmount(self) -> None:
        subprocess.run(["umount", str(self._folder)], check=True)

    def _mount(self, options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self._folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


class FileSizeLimit:
    """RLIMIT_FSIZE of the running collector: writes beyond it fail with EFBIG; Python ignores the signal."""

    def narrow(self, pid: int) -> None:
        self._limit(pid, 512 * 1024)

    def widen(self, pid: int) -> None:
        self._limit(pid, resource.RLIM_INFINITY)

    def _limit(self, pid: int, size: int) -> None:
        assert sys.platform == "linux"
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


@contextmanager
def small_file_system(folder: Path) -> Iterator[Room]:
    """Skips where nothing may be mounted."""
    room = SmallFileSystem(folder)
    if sys.platform != "linux" or not room.mount():
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        yield room
    finally:
        room.unmount()


@contextmanager
def file_size_limit(folder: Path) -> Iterator[Room]:
    """Skips where no other process can be limited."""
    if sys.platform != "linux":
        pytest.skip("prlimit is Linux's")
    folder.mkdir()
    yield FileSizeLimit()
