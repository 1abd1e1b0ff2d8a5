"""`spanmeter demo`: a real agent against a local endpoint, metered from its spans, and the result checked."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from importlib import metadata
from pathlib import Path
from typing import Final

from spanmeter.demo.comparison import (
    DOLLARS_PER_TOKEN,
    Tokens,
    cost,
    differences,
    tokens_metered,
    tokens_of_class,
    tokens_served,
)
from spanmeter.demo.display import Display, open_display, print_table, say
from spanmeter.demo.stage import Interruption, Stage, watching_signals
from spanmeter.errors import SpanmeterError, UsageError
from spanmeter.ledger.report import UsageRow, usage_rows
from spanmeter.ledger.status import read_status
from spanmeter.store.database import FILE_NAME, Database

TENANTS: Final = ("acme", "globex")
CALLS: Final = 3 * len(TENANTS)  # spanmeter.demo.agent: a question, the answer with the tool's result, a summary

_PARTS: Final = ("openai", "opentelemetry-instrumentation-openai-v2", "opentelemetry-distro")
_COLLECTOR_SETTINGS: Final = {"SPANMETER_TRACE_QUIET_S": "0.5", "SPANMETER_LOG_LEVEL": "WARNING"}
_AGENT_TIMEOUT_S: Final = 60.0
_DECISION_TIMEOUT_S: Final = 20.0
_EVENTS_AT_ONCE: Final = 1000

_INTRODUCTION: Final = """\
A small agent with the real `openai` client serves two tenants, and spanmeter
meters its calls from their traces. The LLM service is a local stand-in: no model
is asked, nothing leaves this machine, and no account is used.
"""


def run_demo(keep: str | None) -> None:
    """Run it; results to standard output, progress to standard error. With `keep`, the books stay in that folder.

    Raises `SystemExit` with 1 where what was metered is not what the endpoint served, and with the shell's status for
    a signal that ended it. Nothing that it started outlives it.
    """
    _require_parts()
    data_dir = _new_data_dir(keep)
    say(_INTRODUCTION)
    with watching_signals() as interruption, Stage(interruption, data_dir=data_dir) as stage:
        with open_display() as display:
            _Run(stage, display, interruption).meter()
        with _books(stage) as books:
            rows = usage_rows(books)
        is_equal = _report(rows, tokens_served(stage.provider.calls))
    if keep is not None:
        say(f"The books are kept. To look at them: SPANMETER_DATA_DIR={keep} spanmeter usage")
    if not is_equal:
        raise SystemExit(1)


def _require_parts() -> None:
    missing = []
    for name in _PARTS:
        try:
            metadata.distribution(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        raise UsageError(f"the demo needs {', '.join(missing)}", hint="pip install 'spanmeter[demo]'")


def _new_data_dir(keep: str | None) -> Path | None:
    """The folder to keep. Books of an earlier run would not agree with this run's endpoint."""
    if keep is None:
        return None
    data_dir = Path(keep).absolute()
    if (data_dir / FILE_NAME).exists():
        raise UsageError(f"--keep {keep}: there are books already", hint="name a new folder, or remove that one")
    return data_dir


@contextmanager
def _books(stage: Stage) -> Iterator[Database]:
    """The collector's database, for reading."""
    database = Database.open_existing(stage.data_dir)
    if database is None:
        raise SpanmeterError(f"the collector has made no database in {stage.data_dir}")
    with closing(database):
        yield database


class _Run:
    """From the first start until every call of the agent is decided; events are shown as they are made."""

    def __init__(self, stage: Stage, display: Display, interruption: Interruption) -> None:
        self._stage = stage
        self._display = display
        self._interruption = interruption
        self._shown = 0

    def meter(self) -> None:
        self._display.show("collector", "starting")
        address = self._stage.start_collector(_COLLECTOR_SETTINGS)
        self._display.show("collector", f"takes OTLP on {address}")
        url = self._stage.start_provider()
        self._display.show("endpoint", f"a local stand-in on {url}")
        agent = self._stage.start_agent(TENANTS)
        with _books(self._stage) as books:
            self._follow(agent, books)
            self._await_decisions(books)
        self._display.finish()

    def _follow(self, agent: "subprocess.Popen[bytes]", books: Database) -> None:
        def has_ended() -> bool:
            status = agent.poll()
            self._display.show("agent", "calls", done=len(self._stage.provider.calls), total=CALLS)
            self._show_events(books)
            return status is not None

        if not self._interruption.wait_for(has_ended, timeout_s=_AGENT_TIMEOUT_S):
            raise SpanmeterError(f"the agent runs for more than {_AGENT_TIMEOUT_S:.0f} s: {self._log('agent')}")
        if agent.returncode:
            raise SpanmeterError(f"the agent has ended with exit status {agent.returncode}: {self._log('agent')}")

    def _await_decisions(self, books: Database) -> None:
        served = len(self._stage.provider.calls)

        def are_made() -> bool:
            status = read_status(books)
            self._show_events(books)
            return status.received.llm_spans >= served and not status.undecided.spans

        self._display.show("deciding", "who pays for each call")
        if not self._interruption.wait_for(are_made, timeout_s=_DECISION_TIMEOUT_S):
            self._display.say(
                f"The collector has not decided all calls. {self._log('agent')}\n{self._log('collector')}"
            )

    def _show_events(self, books: Database) -> None:
        for number, body in books.execute("event_read", self._shown, _EVENTS_AT_ONCE):
            self._display.say(body.decode())
            self._shown = number

    def _log(self, name: str) -> str:
        return f"the end of what the {name} wrote:\n{self._stage.log_end(name)}"


def _report(rows: Sequence[UsageRow], served: Tokens) -> bool:
    """Usage, costs and the comparison. Whether what was metered is what was served."""
    metered = tokens_metered(rows)
    say("")
    print_table(
        "Usage",
        ["tenant", "model", "token class", "events", "tokens"],
        [(row.tenant, row.model, row.token_class, row.events, row.tokens) for row in rows],
    )
    price = " and ".join(f"${price} an {name} token" for name, price in DOLLARS_PER_TOKEN.items())
    print_table(
        f"Cost at {price}",
        ["tenant", "input tokens", "output tokens", "cost"],
        [_cost_row(tenant, metered, tenant=tenant) for tenant in sorted({row.tenant for row in rows})]
        + [_cost_row("total", metered)],
    )
    given, made = tokens_of_class(served, "input"), tokens_of_class(served, "output")
    say(f"The endpoint says that it served {given:,} input and {made:,} output tokens: ${cost(served):,.2f}.")
    found = differences(metered, served)
    if not found:
        say("equal: metered is what was served, for each tenant, model and token class")
        return True
    say("NOT equal: metered is not what was served")
    for line in found:
        say(f"  {line}")
    return False


def _cost_row(name: str, tokens: Tokens, *, tenant: str | None = None) -> tuple[str, int, int, str]:
    return (
        name,
        tokens_of_class(tokens, "input", tenant=tenant),
        tokens_of_class(tokens, "output", tenant=tenant),
        f"${cost(tokens, tenant=tenant):,.2f}",
    )
