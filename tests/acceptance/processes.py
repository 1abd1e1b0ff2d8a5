"""Other processes as Linux shows them in /proc."""

from contextlib import suppress
from pathlib import Path


def children_of(pid: int) -> list[int]:
    """Processes that it started, in their order."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has ended meanwhile
            found += map(int, (task / "children").read_text().split())
    return sorted(found)


def sockets_of(pid: int) -> int:
    """How many it has open."""
    count = 0
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            count += str(file.readlink()).startswith("socket:")
    return count


def is_running(pid: int) -> bool:
    """Whether it is there and has not ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
