"""The data folder is damaged, taken away and brought back while the collector runs: it says so at once and
acknowledges nothing that is nowhere; what was acknowledged before is billed once it is mended."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from spanmeter.store.database import FILE_NAME, JOURNAL_NAME, Database
from tests.acceptance.child import eventually
from tests.acceptance.collector import Collector, run_spanmeter, running_collector, settled
from tests.acceptance.requests import PROTOBUF
from tests.crash.clients import call_body
from tests.crash.records import Records

SETTINGS = {"SPANMETER_MIN_FREE_MB": "0"}


class Sender:
    """Sends calls, and counts what was acknowledged."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._records = Records(1)
        self.acknowledged = 0

    def send(self) -> int:
        status = httpx.post(
            f"{self._collector.http_url}/v1/traces",
            content=call_body(self._records.new_call()),
            headers={"content-type": PROTOBUF},
            timeout=20,
            trust_env=False,
        ).status_code
        self.acknowledged += status == 200
        return status

    def readiness(self) -> tuple[int, str]:
        answer = httpx.get(f"{self._collector.http_url}/readyz", timeout=20, trust_env=False)
        return answer.status_code, answer.text


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    with running_collector(tmp_path / "data", settings=SETTINGS) as running:
        yield running


def _remove(file: Path) -> None:
    file.unlink()


def _replace(file: Path) -> None:
    shutil.copy2(file, file.with_name("copy"))
    file.with_name("copy").rename(file)


def _flip_bytes(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    with file.open("r+b") as pages:
        for page in range(1, os.fstat(pages.fileno()).st_size // 4096):
            pages.seek(4096 * page)
            pages.write(b"\xa5" * 512)


def _remove_folder(file: Path) -> None:
    shutil.rmtree(file.parent)


@pytest.mark.parametrize(
    ("break_it", "name", "words"),
    [
        (_remove, FILE_NAME, "removed or replaced"),
        (_remove, JOURNAL_NAME, "removed or replaced"),
        (_replace, FILE_NAME, "removed or replaced"),
        (_replace, JOURNAL_NAME, "removed or replaced"),
        (_remove_folder, FILE_NAME, "removed or replaced"),
        (_flip_bytes, JOURNAL_NAME, "malformed"),
    ],
)
def test_nothing_is_acknowledged_and_the_state_is_told(
    collector: Collector, break_it: Callable[[Path], object], name: str, words: str
) -> None:
    sender = Sender(collector)
    assert sender.send() == 200
    break_it(collector.data_dir / name)
    assert sender.send() == 503
    status, text = sender.readiness()
    assert (status, words in text) == (503, True), text
    assert [sender.send() for _ in range(3)] == [503] * 3
    if name == FILE_NAME:
        assert eventually(lambda: "assembly: " in collector.child.log.read_text(), timeout_s=10)
    assert sender.readiness()[0] == 503
    assert collector.is_healthy()
    assert "Traceback" not in collector.child.log.read_text()


def test_with_damaged_books_the_state_is_told_and_what_is_acknowledged_is_billed_once_they_are_mended(
    tmp_path: Path,
) -> None:
    data_dir, copy = tmp_path / "data", tmp_path / "copy"
    with running_collector(data_dir, settings=SETTINGS) as collector:
        assert Sender(collector).send() == 200
        assert eventually(lambda: settled(data_dir, llm_spans=1).balanced, timeout_s=10)
    shutil.copy2(data_dir / FILE_NAME, copy)
    with running_collector(data_dir, settings=SETTINGS) as collector:
        _flip_bytes(data_dir / FILE_NAME)
        sender = Sender(collector)
        acknowledged = 1 + [sender.send() for _ in range(3)].count(200)
        assert eventually(lambda: "malformed" in sender.readiness()[1], timeout_s=10)
        assert sender.readiness()[0] == 503
        assert collector.is_healthy()
    for file in data_dir.glob(f"{FILE_NAME}*"):
        file.unlink()
    shutil.copy2(copy, data_dir / FILE_NAME)
    with running_collector(data_dir, settings=SETTINGS):
        assert acknowledged == 4
        assert settled(data_dir, llm_spans=acknowledged).balanced


def test_a_folder_that_comes_back_is_used_again(collector: Collector) -> None:
    sender = Sender(collector)
    assert sender.send() == 200
    away = collector.data_dir.with_name("away")
    collector.data_dir.rename(away)
    assert sender.send() == 503
    away.rename(collector.data_dir)
    assert eventually(lambda: sender.send() == 200, timeout_s=10)
    assert eventually(lambda: sender.readiness() == (200, "ok\n"), timeout_s=10)
    assert settled(collector.data_dir, llm_spans=sender.acknowledged).balanced


def test_an_emptied_file_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with running_collector(data_dir, settings=SETTINGS) as collector:
        assert Sender(collector).send() == 200
    os.truncate(data_dir / FILE_NAME, 0)
    for command in ("serve", "deliver"):
        run = run_spanmeter(command, data_dir=data_dir)
        assert run.returncode == 1
        assert "the file is empty, and was not before" in run.stderr
    (data_dir / FILE_NAME).unlink()
    with running_collector(data_dir, settings=SETTINGS) as collector:
        assert Sender(collector).send() == 200


def test_a_log_that_was_cut_short_loses_its_end_and_nothing_else(tmp_path: Path) -> None:
    with closing(Database.open(tmp_path / "live")) as database:
        for number in range(50):
            with database.transaction() as transaction:
                transaction.execute("fact_write", f"f{number}", "x" * 500)
        shutil.copytree(tmp_path / "live", tmp_path / "cut")
    log = tmp_path / "cut" / f"{FILE_NAME}-wal"
    os.truncate(log, log.stat().st_size - 6000)
    with closing(Database.open(tmp_path / "cut")) as database:
        facts = dict(database.execute("fact_read"))
    assert 40 <= len(facts) < 50
    assert set(facts) == {f"f{number}" for number in range(len(facts))}
