"""A disk that keeps only what it must: bytes whose fsync has ended before the power went."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.strace import SYNCS, WRITES, SystemCall

SECTOR = 512
"""What a disk writes as a whole, at the least."""


@dataclass(slots=True, kw_only=True)
class _File:
    """`kept` is sure to be on the disk; `pending` are writes (or cuts, without data) that may or may not be."""

    kept: bytearray
    named: bool
    pending: list[SystemCall] = field(default_factory=list)

    def sync(self, sync: SystemCall) -> None:
        """Writes that had ended when the fsync began are kept; others go on waiting."""
        for call in self.pending:
            if call.ended < sync.begun:
                _apply(self.kept, call)
        self.pending = [call for call in self.pending if call.ended >= sync.begun]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What a machine finds after a power cut: files by name."""

    files: Mapping[str, bytes]

    def write(self, folder: Path) -> None:
        folder.mkdir()
        for name, data in self.files.items():
            (folder / name).write_bytes(data)


class Disk:
    """Replays the calls on the files of one folder. `before` are the files as they were, and safe, at the beginning;
    the name of a file that was made since is safe once the folder was fsynced after the file's first write."""

    def __init__(self, folder: Path, before: Mapping[str, bytes], calls: Sequence[SystemCall]) -> None:
        self._folder = folder
        self._files = {name: _File(kept=bytearray(data), named=True) for name, data in before.items()}
        self._calls = [call for call in calls if Path(call.file) == folder or Path(call.file).parent == folder]

    def cuts(self, moments: Sequence[int], *, chance: random.Random) -> Iterator[tuple[Image, Image]]:
        """At each moment, which must ascend, a power cut: what is left where nothing unsynced has reached the disk, and
        where any part of it has."""
        at = 0
        for moment in moments:
            while at < len(self._calls) and self._calls[at].ended < moment:
                self._replay(self._calls[at])
                at += 1
            yield self._image(None), self._image(chance)

    def _replay(self, call: SystemCall) -> None:
        path = Path(call.file)
        if path == self._folder:
            if call.name in SYNCS:
                for file in self._files.values():
                    file.named = file.named or any(True for _ in file.kept)
            return
        file = self._files.setdefault(path.name, _File(kept=bytearray(), named=False))
        if call.name in SYNCS:
            file.sync(call)
        elif call.name in WRITES or call.name == "ftruncate":
            file.pending.append(call)

    def _image(self, chance: random.Random | None) -> Image:
        files = {}
        for name, file in self._files.items():
            data = bytearray(file.kept)
            if chance is not None:
                for call in file.pending:
                    _apply_in_part(data, call, chance)
            if file.named:
                files[name] = bytes(data)
        return Image(files=files)


def _apply(data: bytearray, call: SystemCall) -> None:
    offset = call.numbers[-1]
    if call.name == "ftruncate":
        del data[offset:]
        data.extend(bytes(offset - len(data)))
        return
    data.extend(bytes(max(0, offset - len(data))))
    data[offset : offset + len(call.data)] = call.data


def _apply_in_part(data: bytearray, call: SystemCall, chance: random.Random) -> None:
    if call.name == "ftruncate":
        if chance.random() < 0.5:
            _apply(data, call)
        return
    offset = call.numbers[-1]
    for start in range(0, len(call.data), SECTOR):
        if chance.random() < 0.5:
            part = call.data[start : start + SECTOR]
            data.extend(bytes(max(0, offset + start - len(data))))
            data[offset + start : offset + start + len(part)] = part
