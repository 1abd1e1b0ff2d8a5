"""The commands as a person runs them, in this process; their folders are temporary."""

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from spanmeter import __version__
from spanmeter.cli import main
from spanmeter.cli.convert import write_all
from spanmeter.errors import MalformedError
from spanmeter.pipeline.cores import entries_on_cores
from spanmeter.settings import load, rows, variables
from spanmeter.store.outbox import SqliteDeliveryLog
from spanmeter.wire.files import read_pieces
from tests.integration.books import QUIET_S, Plant
from tests.spans import NOW_NS, facts, otlp, span
from tests.unit.wire.bodies import to_json

SPANS = [span(1, tokens=None, tenant="acme"), span(2, parent=1), span(3, tokens=(7, 0))]
SECRET = "spat_verysecretvalue"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in os.environ:
        if name.startswith(("SPANMETER_", "KONNECT_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SPANMETER_DATA_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def run(*arguments: str | Path) -> Result:
    """Run a command; whatever it raises but the wish to exit is a bug, and a traceback."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert "Traceback" not in result.output
    return result


def events(result: Result) -> list[tuple[str, int]]:
    return sorted((event["subject"], event["data"]["tokens"]) for event in map(json.loads, result.stdout.splitlines()))


@pytest.mark.parametrize("command", [[], *([name] for name in main.commands)])
def test_every_command_has_help(command: Sequence[str]) -> None:
    for option in ("--help", "-h"):
        result = run(*command, option)
        assert result.exit_code == 0
        assert result.stdout.startswith("Usage: ")
        assert len(result.stdout.splitlines()) > 4


def test_version_and_nonsense() -> None:
    assert run("--version").stdout == f"spanmeter, version {__version__}\n"
    assert run("bill").exit_code == 2
    assert run("usage", "--by", "year").exit_code == 2


class TestSettings:
    def test_json(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KONNECT_TOKEN", SECRET)
        monkeypatch.setenv("SPANMETER_BATCH_EVENTS", "7")
        found = {row["variable"]: row for row in json.loads(run("settings", "--json").stdout)}
        assert list(found) == list(variables())
        assert found["SPANMETER_BATCH_EVENTS"] == {
            "variable": "SPANMETER_BATCH_EVENTS",
            "type": "integer",
            "unit": "events",
            "default": "100",
            "value": "7",
            "description": "Most events in one request to the service.",
        }
        assert found["KONNECT_TOKEN"]["value"] == "********"

    def test_text_names_every_variable_and_no_secret(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KONNECT_TOKEN", SECRET)
        text = run("settings").stdout
        assert all(f"{row.variable}=" in text for row in rows(load({})))
        assert SECRET not in text

    def test_markdown_does_not_depend_on_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before = run("settings", "--markdown").stdout
        monkeypatch.setenv("SPANMETER_BATCH_EVENTS", "not a number")
        assert run("settings", "--markdown").stdout == before
        assert len(before.splitlines()) == 2 + len(variables())
        assert all(line.count(" | ") == 3 for line in before.splitlines()[2:])

    def test_mistakes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SPANMETER_BATCH_EVENTS", "many")
        monkeypatch.setenv("KONNECT_REGION", "mars")
        for command in ("settings", "usage", "status", "convert"):
            result = run(command)
            assert result.exit_code == 2
            assert result.stdout == ""
            assert "SPANMETER_BATCH_EVENTS" in result.stderr
            assert "KONNECT_REGION" in result.stderr

    def test_a_slip_of_the_pen_is_pointed_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SPANMETER_BATCH_EVENT", "7")
        result = run("settings", "--json")
        assert "did you mean SPANMETER_BATCH_EVENTS?" in result.stderr
        assert json.loads(result.stdout)


class TestConvert:
    def file(self, tmp_path: Path, form: str) -> Path:
        message = otlp(SPANS)
        plain = {
            "protobuf": message.SerializeToString(),
            "json": json.dumps(json.loads(to_json(message)), indent=1).encode(),
            "lines": b"".join(to_json(otlp([one])) + b"\n" for one in SPANS),
        }[form.removesuffix(".gz")]
        path = tmp_path / f"recorded.{form}"
        path.write_bytes(gzip.compress(plain) if form.endswith(".gz") else plain)
        return path

    @pytest.mark.parametrize("form", ["protobuf", "json", "lines", "protobuf.gz", "json.gz", "lines.gz"])
    def test_every_form(self, tmp_path: Path, form: str, folder: Path) -> None:
        result = run("convert", self.file(tmp_path, form))
        assert result.exit_code == 0
        assert events(result) == [("acme", 5), ("acme", 10)]
        assert "parked" in result.stderr
        assert not folder.exists()

    def test_files_are_decided_together(self, tmp_path: Path) -> None:
        for number, one in enumerate(SPANS):
            (tmp_path / f"{number}").write_bytes(otlp([one]).SerializeToString())
        files = [tmp_path / f"{number}" for number in (1, 0, 2, 1)]
        result = run("convert", "--quiet", *files)
        assert events(result) == [("acme", 5), ("acme", 10)]
        assert result.stderr == ""

    def test_on_several_cores_the_same_comes_out(self, tmp_path: Path) -> None:
        recorded = tmp_path / "recorded.jsonl"
        lines = [
            to_json(otlp([span(number, trace=1 + number % 40, tenant="acme") for number in range(at, at + 20)]))
            for at in range(1, 801, 20)
        ]
        recorded.write_bytes(b"\n".join(lines))
        outputs = []
        for jobs in ("1", "2"):
            done = subprocess.run(
                [sys.executable, "-m", "spanmeter", "convert", "--jobs", jobs, str(recorded), str(recorded)],
                capture_output=True,
                timeout=60,
                check=True,
            )
            outputs.append((done.stdout, done.stderr))
        assert outputs[0] == outputs[1]
        assert outputs[0][0].count(b"\n") == 1_600
        (tmp_path / "broken.jsonl").write_bytes(b"\n".join([*lines[:3], b"{oops"]))
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "spanmeter",
                "convert",
                "--jobs",
                "2",
                str(recorded),
                str(tmp_path / "broken.jsonl"),
            ],
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"broken.jsonl: line 4: " in done.stderr

    def test_of_two_faults_the_one_in_front_is_named(self, tmp_path: Path) -> None:
        """Also where the other is found first, by the process that reads."""
        broken, cut = tmp_path / "broken.jsonl", tmp_path / "cut.gz"
        broken.write_bytes(to_json(otlp(SPANS)) + b"\n{oops")
        cut.write_bytes(gzip.compress(otlp(SPANS).SerializeToString())[:-9])
        pieces = (piece for file in (broken, cut) for piece in read_pieces(str(file)))
        settings = load({})
        with pytest.raises(MalformedError, match=r"broken.jsonl: line 2"):
            list(entries_on_cores(pieces, settings, received_ns=1, jobs=2))

    def test_output_that_takes_only_a_part_at_a_time(self) -> None:
        class Slow(io.BytesIO):
            def write(self, text: Any) -> int:
                return super().write(bytes(text)[:7])

        taken = Slow()
        write_all(taken, b"0123456789" * 5)
        assert taken.getvalue() == b"0123456789" * 5

    @pytest.mark.parametrize("unbuffered", ["", "1"])
    def test_a_disk_that_becomes_full_is_an_error(self, tmp_path: Path, unbuffered: str) -> None:
        resource = pytest.importorskip("resource")  # of a file's size the limit is the user's, and does the same

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))

        many = [span(number, trace=number, tenant="acme") for number in range(1, 20)]
        with (tmp_path / "out").open("wb") as out:
            done = subprocess.run(
                [sys.executable, "-m", "spanmeter", "convert", "-q", "-"],
                input=otlp(many).SerializeToString(),
                stdout=out,
                stderr=subprocess.PIPE,
                timeout=30,
                check=False,
                env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
                preexec_fn=limit,
            )
        assert done.returncode == 1
        assert b"spanmeter: " in done.stderr and b"Traceback" not in done.stderr

    def test_standard_input(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "spanmeter", "convert", "-"],
            input=otlp(SPANS).SerializeToString(),
            capture_output=True,
            timeout=30,
            check=True,
        )
        assert [json.loads(line)["subject"] for line in done.stdout.splitlines()] == ["acme", "acme"]

    def test_a_reader_that_goes_away(self) -> None:
        many = [span(number, trace=number, tenant="acme") for number in range(1, 2000)]
        with subprocess.Popen(
            [sys.executable, "-m", "spanmeter", "convert", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as command:
            assert command.stdin and command.stdout and command.stderr
            command.stdout.close()
            command.stdin.write(otlp(many).SerializeToString())
            command.stdin.close()
            assert b"Traceback" not in command.stderr.read()
            assert command.wait(30) == 1

    @pytest.mark.parametrize(
        ("name", "contents"),
        [
            ("cut.pb", otlp(SPANS).SerializeToString()[:-3]),
            ("broken.jsonl", to_json(otlp(SPANS)) + b"\n{broken\n"),
            ("cut.gz", gzip.compress(otlp(SPANS).SerializeToString())[:-9]),
        ],
    )
    def test_a_broken_file_is_named_and_nothing_is_printed(self, tmp_path: Path, name: str, contents: bytes) -> None:
        good, bad = tmp_path / "good", tmp_path / name
        good.write_bytes(otlp(SPANS).SerializeToString())
        bad.write_bytes(contents)
        for files in ([good, bad], [bad, good]):
            result = run("convert", *files)
            assert (result.exit_code, result.stdout) == (2, "")
            assert str(bad) in result.stderr

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        result = run("convert", tmp_path / "nothing")
        assert (result.exit_code, result.stdout) == (2, "")
        assert str(tmp_path / "nothing") in result.stderr

    def test_summary(self, tmp_path: Path) -> None:
        summary = tmp_path / "summary.json"
        result = run("convert", "--summary", summary, self.file(tmp_path, "protobuf"))
        document = json.loads(summary.read_bytes())
        assert {name: document[name] for name in ("requests", "spans", "llm_spans", "events")} == {
            "requests": 1,
            "spans": 3,
            "llm_spans": 2,
            "events": 2,
        }
        assert sum(row["spans"] for row in document["outcomes"]) == 3
        assert {row["outcome"]: row["input_tokens"] for row in document["outcomes"]} == {
            "billed": 10,
            "parked": 7,
            "ignored": 0,
        }
        assert json.loads(run("convert", "--summary", "-", self.file(tmp_path, "json")).stderr) == document
        assert run("convert", "--summary", summary, self.file(tmp_path, "json")).exit_code == 0  # may be made anew
        assert result.exit_code == 0
        assert run("convert", "--summary", tmp_path / "no" / "folder", summary.parent / "recorded.json").exit_code == 2

    def test_summary_never_takes_the_place_of_a_recording(self, tmp_path: Path) -> None:
        recording = self.file(tmp_path, "protobuf")
        before = recording.read_bytes()
        result = run("convert", "--summary", recording)
        assert (result.exit_code, recording.read_bytes()) == (2, before)
        assert "not overwritten" in result.stderr

    def test_nothing_to_convert(self) -> None:
        result = run("convert")
        assert (result.exit_code, result.stdout) == (0, "")


class TestBooks:
    @pytest.fixture
    def plant(self, folder: Path) -> Iterator[Plant]:
        plant = Plant(folder)
        plant.take(facts(1, tenant="acme"), facts(1, trace=2, tenant="bolt, inc"), facts(1, trace=3))
        plant.run(QUIET_S)
        yield plant
        plant.close()

    @pytest.mark.usefixtures("plant")
    def test_usage(self) -> None:
        lines = run("usage").stdout.splitlines()
        assert lines[0].split() == ["tenant", "model", "token", "class", "events", "tokens"]
        assert lines[2].split() == ["acme", "gpt-4o-mini", "input", "1", "10"]
        assert run("usage", "--by", "day").stdout.splitlines()[2].split()[1] == "2026-01-01"
        assert "acme" not in run("usage", "--tenant", "bolt, inc").stdout
        assert run("usage", "--until", "2026-01-01").stdout.startswith("nothing metered")

    @pytest.mark.usefixtures("plant")
    def test_usage_for_programs(self) -> None:
        head = ["tenant", "period", "model", "token_class", "events", "tokens"]
        found = json.loads(run("usage", "--json", "--by", "month").stdout)
        assert [row["tokens"] for row in found] == [10, 5, 10, 5]
        assert set(found[0]) == set(head)
        assert found[0]["period"] == "2026-01"
        table = list(csv.reader(io.StringIO(run("usage", "--csv").stdout)))
        assert table[0] == head
        assert [line[0] for line in table[1:]] == ["acme", "acme", "bolt, inc", "bolt, inc"]

    @pytest.mark.usefixtures("plant")
    def test_usage_asked_wrongly(self) -> None:
        for arguments in (["--json", "--csv"], ["--since", "yesterday"], ["--until", "2026-99-01"]):
            result = run("usage", *arguments)
            assert (result.exit_code, result.stdout) == (2, "")

    def test_status(self, plant: Plant) -> None:
        result = run("status", "--json")
        document = json.loads(result.stdout)
        assert result.exit_code == 0
        assert document["balanced"] is True
        assert document["received"]["llm_spans"] == 3
        assert document["delivery"]["pending"] == 4
        assert {row["outcome"]: row["spans"] for row in document["outcomes"]} == {"billed": 2, "parked": 1}
        text = run("status").stdout
        assert "received = outcomes + not decided" in text
        assert "4 events waiting" in text

    def test_status_tells_by_its_exit_code(self, plant: Plant) -> None:
        SqliteDeliveryLog(plant.database).halted(at_ns=NOW_NS, error="HTTP 401: expired", hint="renew the token")
        result = run("status")
        assert result.exit_code == 1
        assert "renew the token" in result.stdout
        SqliteDeliveryLog(plant.database).succeeded(at_ns=NOW_NS)
        assert run("status").exit_code == 0
        with plant.database.transaction() as transaction:
            transaction.execute("received_add", 0, 1, 1, 0, 0, 0)
        assert run("status").exit_code == 1
        assert "DO NOT BALANCE" in run("status").stdout

    def test_where_nothing_was_ever_received(self, folder: Path) -> None:
        assert run("usage", "--json").stdout == "[]\n"
        assert run("status", "--json").stdout == "{}\n"
        assert str(folder) in run("usage").stdout + run("status").stdout
        assert not folder.exists()

    def test_a_file_that_is_no_database(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "spanmeter.db").write_bytes(b"no database at all " * 100)
        for command in ("usage", "status"):
            result = run(command)
            assert (result.exit_code, result.stdout) == (1, "")
            assert "restore a copy" in result.stderr

    def test_a_folder_that_cannot_be_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SPANMETER_DATA_DIR", "/" + "x" * 5000)
        for command in ("usage", "status"):
            assert run(command).exit_code == 1
