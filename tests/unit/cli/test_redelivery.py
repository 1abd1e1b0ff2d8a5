"""`dead-letters` and `replay` as a person runs them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from spanmeter.cli import main
from tests.integration.events import Books, usage_event


@pytest.fixture
def books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Books]:
    monkeypatch.setenv("SPANMETER_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SPANMETER_ENDPOINT", "http://127.0.0.1:9/api/v1/events")
    books = Books(tmp_path)
    books.make(usage_event(1), usage_event(2, subject="globex"))
    yield books
    books.database.close()


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


class TestDeadLetters:
    def test_list_and_show(self, books: Books) -> None:
        assert run("dead-letters", "list").stdout == "no dead letters\n"
        books.refuse(1, status=413, reason="too large")
        text = run("dead-letters", "list").stdout
        assert "call-1-input" in text
        assert "too large" in text
        [letter] = map(json.loads, run("dead-letters", "list", "--json").stdout.splitlines())
        assert (letter["id"], letter["status"], letter["refusal"]) == ("call-1-input", 413, "too large")
        assert letter["event"]["data"]["tokens"] == 10
        assert letter["properties"]["model"] == "gpt-4o-mini"
        shown = run("dead-letters", "show", "call-1").stdout
        assert '"subject": "acme"' in shown
        assert "HTTP 413" in shown
        assert json.loads(run("dead-letters", "show", "call-1", "--json").stdout) == letter

    def test_unknown_and_unnamed(self, books: Books) -> None:
        assert run("dead-letters", "show", "x").exit_code == 2
        assert run("dead-letters", "retry").exit_code == 2
        assert run("dead-letters", "discard", "--all").exit_code == 2
        assert run("dead-letters", "list", "--where", "model").exit_code == 2

    def test_retry(self, books: Books) -> None:
        books.refuse()
        assert json.loads(run("dead-letters", "retry", "--id", "call-2-input", "--json").stdout) == {"retried": 1}
        assert books.tables() == ["dead_letter", "outbox"]
        assert run("dead-letters", "retry", "--status", "400").stdout == "1 dead letters are in the outbox again\n"

    def test_discard(self, books: Books) -> None:
        books.refuse()
        assert run("status").exit_code == 1
        run("dead-letters", "discard", "--where", "tenant=globex", "--reason", "a test")
        assert run("dead-letters", "discard", "--all", "--reason", "b", "--json").stdout == '{"discarded":1}\n'
        assert [
            json.loads(line)["reason"]
            for line in run("dead-letters", "list", "--discarded", "--json").stdout.splitlines()
        ] == ["b", "a test"]
        assert "a test" in run("dead-letters", "list", "--discarded").stdout
        status = run("status", "--json")
        assert status.exit_code == 0
        assert json.loads(status.stdout)["delivery"]["discarded"] == 2
        assert "2 given up" in run("status").stdout


class TestReplay:
    RANGE = ("--from", "2026-01-01", "--to", "2026-01-02")

    def test_dry_run_and_force(self, books: Books) -> None:
        books.send(1)
        refused = run("replay", *self.RANGE)
        assert refused.exit_code == 2
        assert "24 h" in refused.stderr
        told = json.loads(run("replay", *self.RANGE, "--dry-run", "--force", "--json").stdout)
        assert told == {
            "put_back": 1,
            "dry_run": True,
            "from_where": {"sent": 1},
            "left": {"waiting": 1},
            "taken_long_ago": 1,
        }
        assert books.tables() == ["sent", "outbox"]
        text = run("replay", *self.RANGE, "--force").stdout
        assert text.splitlines() == [
            "1 events are in the outbox again: 1 sent before",
            "1 events of that time stay where they are: 1 waiting already",
        ]
        assert books.tables() == ["outbox", "outbox"]

    def test_local(self, books: Books) -> None:
        books.make(usage_event(3), deliver=False)
        books.send()
        told = json.loads(run("replay", *self.RANGE, "--local", "--json").stdout)
        assert (told["put_back"], told["left"]) == (1, {"sent": 2})

    def test_asked_wrongly(self, books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
        assert run("replay", "--from", "2026-01-02", "--to", "2026-01-02").exit_code == 2
        assert run("replay", "--from", "soon", "--to", "2026-01-02").exit_code == 2
        monkeypatch.delenv("SPANMETER_ENDPOINT")
        assert run("replay", *self.RANGE).exit_code == 2


class TestCorrect:
    def test_adjust_void_and_list(self, books: Books) -> None:
        assert run("correct", "--list").stdout == "nothing was corrected\n"
        assert (
            run("correct", "call-1-input", "--tokens", "-4", "--reason", "counted twice").exit_code == 2
        )  # not sent yet
        books.send()
        text = run("correct", "call-1-input", "--tokens", "-4", "--reason", "counted twice").stdout
        assert text == "call-1-input-correction-1: -4 tokens for acme\n"
        event = json.loads(run("correct", "call-1-input", "--void", "--reason", "b", "--at", "now", "--json").stdout)
        assert (event["data"]["tokens"], event["data"]["reason"]) == (-6, "b")
        assert not event["time"].startswith("2026-01-01")
        rows = [json.loads(line) for line in run("correct", "--list", "--json").stdout.splitlines()]
        assert [(row["corrected"], row["tokens"], row["reason"]) for row in rows] == [
            ("call-1-input", -4, "counted twice"),
            ("call-1-input", -6, "b"),
        ]
        assert "counted twice" in run("correct", "--list").stdout
        [acme, globex] = json.loads(run("usage", "--json").stdout)
        assert (acme["tokens"], globex["tokens"]) == (0, 10)

    @pytest.mark.parametrize(
        "arguments",
        [
            ["call-1-input"],
            ["call-1-input", "--void"],
            ["call-1-input", "--void", "--tokens", "-1", "--reason", "x"],
            ["--void", "--reason", "x"],
            ["call-1-input", "--tokens", "-11", "--reason", "x"],
            ["call-9-input", "--void", "--reason", "x"],
        ],
    )
    def test_asked_wrongly(self, books: Books, arguments: list[str]) -> None:
        books.send()
        assert run("correct", *arguments).exit_code == 2
        assert books.tables() == ["sent", "sent"]

    def test_the_same_again(self, books: Books) -> None:
        books.send()
        given = ("correct", "call-1-input", "--tokens", "-4", "--reason", "counted twice")
        assert [run(*given).exit_code, run(*given).exit_code, run(*given, "--again").exit_code] == [0, 2, 0]
