import os
import re
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from spanmeter.errors import StoreBusyError, StoreError
from spanmeter.ledger.report import usage_rows
from spanmeter.store import database as database_module
from spanmeter.store import file as file_module
from spanmeter.store.database import FILE_NAME, JOURNAL_NAME, Database, journal_migrations, migrations
from spanmeter.store.journal import SqliteJournal
from spanmeter.store.ledger import SqliteLedger, TraceMemory
from spanmeter.store.statements import queries
from tests.spans import entry, facts

FOREIGN_SCHEMA = len(migrations()) + 1


def connect(folder: Path, name: str = FILE_NAME) -> "closing[sqlite3.Connection]":
    return closing(sqlite3.connect(folder / name, isolation_level=None))


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=30, check=False
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


class TestOpening:
    def test_from_nothing_and_again(self, folder: Path) -> None:
        for _ in range(2):
            with closing(Database.open(folder)) as database:
                assert database.execute("received_read")[0] == (0, 0, 0, 0, 0, 0)
        for name, scripts in ((FILE_NAME, migrations()), (JOURNAL_NAME, journal_migrations())):
            with connect(folder, name) as connection:
                assert connection.execute("PRAGMA user_version").fetchone() == (len(scripts),)
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)

    def test_every_query_fits_the_schema(self, folder: Path) -> None:
        Database.open(folder).close()
        with connect(folder) as connection:
            for name, query in queries().items():
                places = dict.fromkeys(re.findall(r":(\w+)", query), 0)
                try:
                    connection.execute(f"EXPLAIN {query}", places or [None] * query.count("?"))
                except sqlite3.Error as error:
                    raise AssertionError(f"{name}: {error}") from error

    @pytest.mark.parametrize("name", ["with space", "per%cent", "what?", "hash#", "ünïcode", "plus+&"])
    def test_any_folder_name(self, tmp_path: Path, name: str) -> None:
        with closing(Database.open(tmp_path / name)) as database:
            SqliteJournal(database).append([entry(facts(1))])
        found = Database.open_existing(tmp_path / name)
        assert found is not None
        with closing(found):
            assert SqliteJournal(found).depth() == 1
        assert [path.name for path in tmp_path.iterdir()] == [name]

    def test_folder_and_files_are_private(self, folder: Path) -> None:
        before = os.umask(0)
        try:
            with closing(Database.open(folder)) as database:
                SqliteJournal(database).append([entry(facts(1))])
                modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
        finally:
            os.umask(before)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert modes == {f"{name}{end}": 0o600 for name in (FILE_NAME, JOURNAL_NAME) for end in ("", "-wal", "-shm")}

    def test_write_ahead_log_and_full_synchronisation_in_every_thread(self, folder: Path) -> None:
        found: list[tuple[object, ...]] = []
        with closing(Database.open(folder)) as database:

            def look() -> None:
                connection = database._connection()
                found.append(
                    tuple(
                        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
                    )
                )

            threads = [threading.Thread(target=look) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert found == [("wal", 2)] * 2

    def test_a_newer_schema_is_refused_and_left_alone(self, folder: Path) -> None:
        Database.open(folder).close()
        with connect(folder) as connection:
            connection.execute(f"PRAGMA user_version={FOREIGN_SCHEMA}")
        with pytest.raises(StoreError, match=f"schema {FOREIGN_SCHEMA}") as caught:
            Database.open(folder)
        assert caught.value.hint is not None
        assert "newer spanmeter" in caught.value.hint
        with connect(folder) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (FOREIGN_SCHEMA,)

    def test_a_migration_that_fails_changes_nothing(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Database.open(folder).close()
        broken = (*migrations(), "CREATE TABLE extra (a INTEGER) STRICT;\nCREATE TABLE journal (a INTEGER) STRICT;")
        monkeypatch.setattr(database_module, "migrations", lambda: broken)
        with pytest.raises(StoreError, match="journal already exists"):
            Database.open(folder)
        with connect(folder) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (FOREIGN_SCHEMA - 1,)
            assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'extra'").fetchall() == []

    def test_a_file_of_the_first_schema_is_brought_forward_with_its_events(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(database_module, "migrations", lambda: migrations()[:1])
            Database.open(folder).close()
        with connect(folder) as connection, connection:
            connection.execute(
                "INSERT INTO event (seq, id, source, subject, time_ns, token_class, tokens, model, provider, scope, "
                "made_ns, body) VALUES (1, 'a-input', 's', 'acme', 1, 'input', 5, 'm', 'p', 't', 1, x'7b7d')"
            )
            connection.execute("INSERT INTO sent (seq, sent_ns) VALUES (1, 2)")
            connection.execute(
                "INSERT INTO trace (trace_id, decided_ns, version, memory) VALUES (?, 5, 3, ?)",
                (bytes(16), msgspec.msgpack.encode(TraceMemory(rows=[7]))),
            )
        reader = Database.open_existing(folder)  # a command that only reads, run first after an upgrade
        assert reader is not None
        with closing(reader):
            assert reader.execute("settlement_depths") == [(1, 0, 0, 0)]
            assert SqliteLedger(reader).memories([bytes(16)]) == {bytes(16): TraceMemory(rows=[7], version=3)}
            assert [(row.tenant, row.events, row.tokens) for row in usage_rows(reader)] == [("acme", 1, 5)]
            with pytest.raises(StoreError), reader.transaction() as transaction:
                transaction.execute("sent_delete", 1)
        with connect(folder) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (len(migrations()),)

    def test_references_are_checked_but_where_it_is_said(self, folder: Path) -> None:
        with closing(Database.open(folder)) as database:
            for _ in range(2):
                with pytest.raises(StoreError, match="FOREIGN KEY"), database.transaction() as transaction:
                    transaction.execute("correction_insert", 1, 2, 1, "of an event that is none")
                with database.transaction(checks_references=False) as transaction:
                    transaction.execute("fact_write", "name", "value")

    def test_a_journal_that_is_gone_is_told(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        with closing(Database.open(folder)) as database:
            SqliteJournal(database).append([entry(facts(1))])
            [first] = SqliteJournal(database).read(after=0, limit=9)
        assert not caplog.records
        for file in folder.glob(f"{JOURNAL_NAME}*"):
            file.unlink()
        time.sleep(1.01)  # numbers go by the second
        with closing(Database.open(folder)) as database:
            SqliteJournal(database).append([entry(facts(1))])
            [second] = SqliteJournal(database).read(after=0, limit=9)
        assert [record.getMessage().partition(" is gone: ")[0] for record in caplog.records] == [
            str(folder / JOURNAL_NAME)
        ]
        assert second.seq > first.seq

    def test_nothing_to_read_where_nothing_was_stored(self, folder: Path) -> None:
        assert Database.open_existing(folder) is None
        assert not folder.exists()

    def test_reading_writes_nothing(self, folder: Path) -> None:
        Database.open(folder).close()
        reader = Database.open_existing(folder)
        assert reader is not None
        with closing(reader), pytest.raises(StoreError), reader.transaction() as transaction:
            transaction.execute("received_add", 1, 0, 0, 0, 0, 0)


class TestHints:
    def error(self, folder: Path) -> StoreError:
        with pytest.raises(StoreError) as caught:
            Database.open(folder)
        assert str(folder) in caught.value.message
        assert caught.value.hint
        return caught.value

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        assert "SPANMETER_DATA_DIR" in str(self.error(tmp_path / "file" / "state").hint)
        assert "SPANMETER_DATA_DIR" in str(self.error(tmp_path / "file").hint)

    def test_a_file_that_cannot_be_opened(self, folder: Path) -> None:
        (folder / FILE_NAME).mkdir(parents=True)
        assert "permissions" in str(self.error(folder).hint)

    def test_no_database(self, folder: Path) -> None:
        folder.mkdir()
        (folder / FILE_NAME).write_bytes(b"this is no database, whatever its name says\n" * 100)
        error = self.error(folder)
        assert "no database" in str(error.hint)
        assert (folder / FILE_NAME).read_bytes().startswith(b"this is no database")

    def test_a_damaged_file(self, folder: Path) -> None:
        with closing(Database.open(folder)) as database:
            SqliteJournal(database).append([entry(facts(number)) for number in range(1, 400)])
        path = folder / FILE_NAME
        whole = path.read_bytes()
        path.write_bytes(whole[:8192] + b"\xa5" * (len(whole) - 8192))
        with pytest.raises(StoreError) as caught, closing(Database.open(folder)) as database:
            SqliteJournal(database).read(after=0, limit=1000)
        assert "damaged" in str(caught.value.hint)

    def test_a_path_that_is_too_long_to_read(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError):
            Database.open_existing(tmp_path / ("x" * 5000))


class TestTransactions:
    def test_an_error_rolls_back_and_the_next_may_follow(self, folder: Path) -> None:
        with closing(Database.open(folder)) as database:
            with pytest.raises(RuntimeError, match="stop"), database.transaction() as transaction:
                transaction.execute("received_add", 1, 1, 1, 1, 1, 1)
                raise RuntimeError("stop")
            with pytest.raises(StoreError), database.transaction() as transaction:
                transaction.execute("received_add", 1, 1, 1, 1, 1, 1)
                transaction.execute("journal_append", 1, b"", b"not 32 bytes")
            assert database.execute("received_read")[0] == (0, 0, 0, 0, 0, 0)
            with database.transaction() as transaction:
                transaction.execute("received_add", 2, 0, 0, 0, 0, 0)
            assert database.execute("received_read")[0][0] == 2

    def test_two_databases_on_one_file(self, folder: Path) -> None:
        with closing(Database.open(folder)) as one, closing(Database.open(folder)) as other:
            for database in (one, other, one):
                SqliteJournal(database).append([entry(facts(1))])
            assert SqliteJournal(one).depth() == SqliteJournal(other).depth() == 3

    def test_threads_take_turns(self, folder: Path) -> None:
        with closing(Database.open(folder)) as database:
            journal = SqliteJournal(database)

            def work() -> None:
                for _ in range(10):
                    journal.append([entry(facts(1))])

            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert journal.received()[0] == 40
            assert journal.depth() == 40

    def test_a_snapshot_stands_still(self, folder: Path) -> None:
        with closing(Database.open(folder)) as one, closing(Database.open(folder)) as other:
            journal = SqliteJournal(one)
            with one.snapshot():
                SqliteJournal(other).append([entry(facts(1))])
                with other.transaction() as transaction:
                    transaction.execute("received_add", 1, 0, 0, 0, 0, 0)
                assert (journal.received()[0], journal.depth(), [*journal.read(after=0, limit=9)]) == (0, 0, [])
            assert (journal.received()[0], journal.depth(), len(journal.read(after=0, limit=9))) == (2, 1, 1)

    def test_who_journals_waits_for_nobody_who_decides(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(file_module, "BUSY_TIMEOUT_S", 0.01)
        with closing(Database.open(folder)) as one, closing(Database.open(folder)) as other, one.transaction():
            for database in (one, other):
                SqliteJournal(database).append([entry(facts(1))])
            assert SqliteJournal(other).depth() == 2

    def test_another_process_writes_too(self, folder: Path) -> None:
        code = (
            "import sys; from pathlib import Path; from spanmeter.store.database import Database\n"
            "database = Database.open(Path(sys.argv[1]))\n"
            "for _ in range(50):\n"
            "    with database.transaction() as transaction: transaction.execute('received_add', 1, 0, 0, 0, 0, 0)\n"
        )
        with closing(Database.open(folder)) as database:
            children = [subprocess.Popen([sys.executable, "-c", code, folder]) for _ in range(2)]
            for _ in range(50):
                with database.transaction() as transaction:
                    transaction.execute("received_add", 1, 0, 0, 0, 0, 0)
            assert [child.wait(30) for child in children] == [0, 0]
            assert database.execute("received_read")[0][0] == 150

    def test_a_writer_that_holds_on_makes_the_others_say_busy(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(file_module, "BUSY_TIMEOUT_S", 0.01)
        with closing(Database.open(folder)) as one, closing(Database.open(folder)) as other:
            with one.journal.transaction() as transaction:
                transaction.execute("received_add", 1, 0, 0, 0, 0, 0)
                with pytest.raises(StoreBusyError) as caught:
                    SqliteJournal(other).append([entry(facts(1))])
                assert caught.value.hint
            SqliteJournal(other).append([entry(facts(1))])
            assert SqliteJournal(one).received()[0] == 2

    def test_what_has_returned_survives_a_kill(self, folder: Path) -> None:
        code = (
            "import os, signal, sys; from pathlib import Path; from spanmeter.store.database import Database\n"
            "database = Database.open(Path(sys.argv[1]))\n"
            "with database.transaction() as transaction: transaction.execute('received_add', 7, 0, 0, 0, 0, 0)\n"
            "with database.transaction() as transaction:\n"
            "    transaction.execute('received_add', 100, 0, 0, 0, 0, 0)\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        assert run(code, folder).returncode == -9
        with closing(Database.open(folder)) as database:
            assert database.execute("received_read")[0][0] == 7


def test_many_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    def open_one(barrier: threading.Barrier, folder: Path) -> None:
        barrier.wait()
        Database.open(folder).close()

    with ThreadPoolExecutor(6) as pool:
        for number in range(30):
            barrier = threading.Barrier(6)
            opened = [pool.submit(open_one, barrier, tmp_path / str(number)) for _ in range(6)]
            for one in opened:
                one.result()
