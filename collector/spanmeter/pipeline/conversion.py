"""Offline: recorded OTLP in, events out, by the same rules as the collector's and without a database."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter

from spanmeter.pipeline.accounting import Gathered, Rules, settle_traces
from spanmeter.pipeline.intake import journal_entry
from spanmeter.pipeline.recent import RecentCalls
from spanmeter.pipeline.remembered import RememberedBooks
from spanmeter.store.journal import JournalEntry
from spanmeter.store.ledger import Settlement, Tally
from spanmeter.usage.outcome import Outcome, Reason, uninteresting
from spanmeter.usage.packing import packed
from spanmeter.usage.recognition import Recogniser
from spanmeter.usage.trace import unpack_links
from spanmeter.wire.request import DecodedRequest

OPEN_SPANS = 30_000
_LINKS_A_SPAN = 8
"""A span without facts is held as its place in the trace alone, in an eighth of the memory."""
_FOREVER_NS = 1 << 63
_shape_and_row = itemgetter(1, 2)


@dataclass(slots=True)
class Conversion:
    """Requests gathered by `add`, decided by `settle`, all together. With `settle_oldest` between, those traces are
    decided first that were not heard of for longest, so that never more than `open_spans` wait.

    Time does not pass in a recording: a trace is taken for over when so many other spans have come since its last one.
    What was decided is remembered as the collector does, by number instead of time, see `RememberedBooks`.
    """

    recogniser: Recogniser
    rules: Rules
    now_ns: int
    open_spans: int = OPEN_SPANS
    requests: int = 0
    spans: int = 0
    llm_spans: int = 0
    rejected: int = 0
    tallies: dict[tuple[Outcome, Reason], Tally] = field(default_factory=dict)
    _open: dict[bytes, Gathered] = field(default_factory=dict)  # those heard of last are last
    _facts_held: int = 0
    _links_held: int = 0
    _books: RememberedBooks | None = None
    _recent: RecentCalls | None = None

    def add(self, requests: Iterable[DecodedRequest]) -> None:
        for request in requests:
            self.take(journal_entry(request, self.recogniser, received_ns=self.now_ns))

    def take(self, entry: JournalEntry) -> None:
        """What was recognised in one request."""
        self.requests += 1
        self.spans += entry.spans
        self.rejected += entry.rejected
        self._facts_held += len(entry.facts)
        open_, seq, facts = self._open, self.requests, packed(entry.facts)
        self.llm_spans += facts.calls()
        shapes, take_out = facts.shapes, open_.pop
        for row in facts.rows:
            trace_id = row[1]
            arrival = (seq, shapes[row[0]], row)
            trace = take_out(trace_id, None)
            if trace is None:
                open_[trace_id] = Gathered([arrival])
            else:
                trace.arrivals.append(arrival)
                open_[trace_id] = trace
        for trace_id, span_id, parent in unpack_links(entry.links):
            trace = open_.pop(trace_id, None)
            if trace is None:
                trace = Gathered()
            open_[trace_id] = trace
            self._links_held += span_id not in trace.links
            trace.links[span_id] = parent

    def settle_oldest(self, *, most: int | None = None) -> Settlement | None:
        """Decide the traces heard of longest ago, a tenth of the window and all that is beyond it, if more than `most`
        spans wait, by default more than the window holds; None if not."""
        weight = self._weight
        if weight <= (self.open_spans if most is None else most):
            return None
        left = min(weight, self.open_spans) - self.open_spans // 10
        due: dict[bytes, Gathered] = {}
        open_, facts, links = self._open, self._facts_held, self._links_held
        for trace_id in [*open_]:
            if facts + links // _LINKS_A_SPAN <= left:
                break
            trace = due[trace_id] = open_.pop(trace_id)
            facts -= len(trace.arrivals)
            links -= len(trace.links)
        self._facts_held, self._links_held = facts, links
        if self._books is None:
            self._books = RememberedBooks(
                traces=self.open_spans // 2, calls=self.open_spans, classes=self.rules.events.classes
            )
            self._recent = RecentCalls(_FOREVER_NS)
        return self._settled(due)

    def settle(self) -> Settlement:
        """Decide everything that waits. The tallies cover every span that was added, those of no interest included."""
        settlement = self._settled(self._open)
        self._open = {}
        for (outcome, reason), spans in uninteresting(
            spans=self.spans, llm_spans=self.llm_spans, rejected=self.rejected
        ).items():
            settlement.tally(outcome, reason, Tally(spans=spans))
            self._count(outcome, reason, Tally(spans=spans))
        return settlement

    @property
    def in_parts(self) -> bool:
        """Whether traces were decided while others were still to come."""
        return self._books is not None

    @property
    def _weight(self) -> int:
        return self._facts_held + self._links_held // _LINKS_A_SPAN

    def _settled(self, due: dict[bytes, Gathered]) -> Settlement:
        books = self._books if self._books is not None else RememberedBooks(traces=0, calls=0)
        wanted = {trace_id: trace for trace_id, trace in due.items() if trace.arrivals or books.remembers(trace_id)}
        settlement = settle_traces(wanted, books, rules=self.rules, recent=self._recent, oldest_row=self.requests + 1)
        if self._books is not None and self._recent is not None:
            self._books.settle(settlement, now_ns=self.now_ns, deliver=False)
            arrivals = itertools.chain.from_iterable([trace.arrivals for trace in wanted.values()])
            self._recent.add(map(_shape_and_row, arrivals), now_ns=self.now_ns)
        for (outcome, reason), amount in settlement.tallies.items():
            self._count(outcome, reason, amount)
        return settlement

    def _count(self, outcome: Outcome, reason: Reason, amount: Tally) -> None:
        self.tallies[outcome, reason] = self.tallies.get((outcome, reason), Tally()).plus(amount)


def settlements(conversion: Conversion, entries: Iterable[JournalEntry]) -> Iterator[Settlement]:
    """Decide as `entries` come, in constant memory."""
    for entry in entries:
        conversion.take(entry)
        settlement = conversion.settle_oldest()
        if settlement is not None:
            yield settlement
    while conversion.in_parts and (settlement := conversion.settle_oldest(most=0)) is not None:
        yield settlement
    yield conversion.settle()
