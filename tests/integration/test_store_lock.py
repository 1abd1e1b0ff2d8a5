import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spanmeter.errors import StoreError
from spanmeter.store.lock import FileLock

HOLD = (
    "import sys; from pathlib import Path; from spanmeter.store.lock import FileLock\n"
    "lock = FileLock(Path(sys.argv[1])); print(lock.acquire(), flush=True); sys.stdin.readline()\n"
)
TRY = (
    "import sys; from pathlib import Path; from spanmeter.store.lock import FileLock\n"
    "lock = FileLock(Path(sys.argv[1])); print(lock.acquire(), lock.held)\n"
)
INHERITED = (
    "import os, sys; path = os.stat(sys.argv[1]); found = []\n"
    "for number in range(3, 200):\n"
    "    try: found += [number] * os.path.samestat(os.fstat(number), path)\n"
    "    except OSError: pass\n"
    "print(found)\n"
)
FORK = (
    "import os, sys; from pathlib import Path; from spanmeter.store.lock import FileLock\n"
    "path = Path(sys.argv[1]); lock = FileLock(path); assert lock.acquire()\n"
    "child = os.fork()\n"
    "if not child:\n"
    "    held, again, other = lock.held, lock.acquire(), FileLock(path).acquire()\n"
    "    lock.release()\n"
    "    os._exit(0 if (held, again, other) == (False, False, False) else 1)\n"
    "_, status = os.waitpid(child, 0)\n"
    "print(os.waitstatus_to_exitcode(status), lock.held)\n"
    "sys.stdout.flush(); sys.stdin.readline()\n"
)


@contextmanager
def holder(path: Path, code: str = HOLD) -> Iterator[subprocess.Popen[str]]:
    """Another process that has said its line and waits."""
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def said(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def tries(path: Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", TRY, path], capture_output=True, text=True, timeout=30, check=True
    ).stdout.strip()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "worker.lock"


def test_one_process_at_a_time(path: Path) -> None:
    lock = FileLock(path)
    held = [lock.held]
    assert lock.acquire()
    assert lock.acquire(), "it is held already"
    held.append(lock.held)
    assert tries(path) == "False False"
    lock.release()
    held.append(lock.held)
    assert held == [False, True, False]
    assert tries(path) == "True True"
    assert lock.acquire()
    lock.release()
    lock.release()


def test_freed_by_kill_9(path: Path) -> None:
    lock = FileLock(path)
    with holder(path) as child:
        assert said(child) == "True"
        assert not lock.acquire()
        assert not lock.held
        child.send_signal(signal.SIGKILL)
        child.wait(30)
        assert lock.acquire()
    lock.release()


def test_a_fork_neither_inherits_nor_frees_it(path: Path) -> None:
    with holder(path, FORK) as parent:
        assert said(parent) == "0 True"
        assert tries(path) == "False False"
    assert tries(path) == "True True"


def test_the_file_is_private_and_not_inherited_by_programs(path: Path) -> None:
    lock = FileLock(path)
    lock.acquire()
    assert path.stat().st_mode & 0o777 == 0o600
    inherited = subprocess.run(
        [sys.executable, "-c", INHERITED, path], capture_output=True, text=True, close_fds=False, check=True
    )
    assert inherited.stdout == "[]\n"
    lock.release()


def test_where_there_can_be_no_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no-such-folder"):
        FileLock(tmp_path / "no-such-folder" / "lock").acquire()
