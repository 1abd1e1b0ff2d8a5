"""The data folder: can it be written for good, is there room, who works on it."""

import fcntl
import os
import shutil
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from spanmeter.doctor.finding import Finding, ok, warning, wrong
from spanmeter.errors import StoreError
from spanmeter.store.database import Database

SLOW_SYNC_S = 0.1
_MIB = 2**20


def check_folder(folder: Path, *, min_free_bytes: int) -> Iterator[Finding]:
    """Leaves nothing behind; makes no folder."""
    there = next((one for one in (folder, *folder.absolute().parents) if one.exists()), Path("/"))
    if there != folder and not folder.exists():
        if os.access(there, os.W_OK | os.X_OK):
            yield ok("data folder", f"{folder} does not exist yet and can be made")
        else:
            yield wrong(
                "data folder", f"{folder} cannot be made in {there}", "set SPANMETER_DATA_DIR to another folder"
            )
    else:
        yield _check_writing(folder)
        yield _check_locks(folder)
        yield from _check_database(folder)
    yield _check_space(there, min_free_bytes)


def _check_writing(folder: Path) -> Finding:
    probe = folder / f".doctor-{os.getpid()}"
    try:
        file = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(file, b"x" * 4096)
            begun_s = time.monotonic()
            os.fsync(file)
            took_s = time.monotonic() - begun_s
        finally:
            os.close(file)
            probe.unlink()
    except OSError as error:
        return wrong("data folder", f"{folder}: {error.strerror}", "mend its permissions, or set SPANMETER_DATA_DIR")
    if took_s > SLOW_SYNC_S:
        return warning(
            "data folder",
            f"{folder}: fsync took {took_s * 1000:.0f} ms; every acknowledgement waits for one",
            "put SPANMETER_DATA_DIR on a faster local disk",
        )
    return ok("data folder", f"{folder} can be written; fsync took {took_s * 1000:.1f} ms")


def _check_space(folder: Path, min_free_bytes: int) -> Finding:
    free = shutil.disk_usage(folder).free
    said = f"{free // _MIB:,} MiB free, {min_free_bytes // _MIB:,} MiB are kept free (SPANMETER_MIN_FREE_MB)"
    if free < min_free_bytes:
        return wrong("disk space", f"{said}: senders are told to come again", "free some space")
    return warning("disk space", said, "free some space soon") if free < 2 * min_free_bytes else ok("disk space", said)


def _check_locks(folder: Path) -> Finding:
    holders = {name: _holder(folder / f"{name}.lock") for name in ("serve", "worker")}
    said = {
        "serve": "`spanmeter serve` runs as process {}",
        "worker": "process {} assembles and delivers",
    }
    found = [said[name].format(pid) for name, pid in holders.items() if pid]
    return ok("processes", ", ".join(found) or "nobody works on the folder now: `serve`, `deliver` or a plug-in does")


def _holder(path: Path) -> int:
    """Process that holds the lock, 0 for none; the lock is not touched."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return 0
    # struct flock: its fields stand in another order on macOS.
    form, is_linux = ("hhqqi", True) if sys.platform.startswith("linux") else ("qqihh", False)
    asked = (fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0) if is_linux else (0, 0, 0, fcntl.F_WRLCK, os.SEEK_SET)
    try:
        answer = struct.unpack(form, fcntl.fcntl(file, fcntl.F_GETLK, struct.pack(form, *asked)))
    except OSError:
        return 0
    finally:
        os.close(file)
    kind, pid = (answer[0], answer[4]) if is_linux else (answer[3], answer[2])
    return 0 if kind == fcntl.F_UNLCK else int(pid)


def _check_database(folder: Path) -> Iterator[Finding]:
    try:
        database = Database.open_existing(folder)
        if database is None:
            yield ok("database", "nothing was received yet")
            return
        facts = dict(database.execute("fact_read"))
        dead: int = database.execute("dead_letter_depth")[0][0]
        waiting: int = database.execute("outbox_depth")[0][0]
        database.close()
    except StoreError as error:
        yield wrong("database", error.message, error.hint or "see the message")
        return
    if facts.get("delivery_state") == "halted":
        yield wrong("delivery", f"halted: {facts.get('last_error', '')}", facts.get("delivery_hint", ""))
    if dead:
        yield wrong("delivery", f"{dead:,} events were refused", "`spanmeter dead-letters list` says why")
    if facts.get("delivery_state") != "halted" and not dead:
        yield ok("delivery", f"{waiting:,} events wait, none was refused")
