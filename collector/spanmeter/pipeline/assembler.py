"""Assembly: journalled spans gather by trace until the trace can be decided, and decisions become events."""

import heapq
import logging
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field

from spanmeter.clock import CautiousClock, Clock
from spanmeter.errors import StoreError
from spanmeter.pipeline.accounting import Gathered, Rules, settle_traces
from spanmeter.pipeline.recent import RecentCalls
from spanmeter.store.journal import Journal, JournalRow
from spanmeter.store.ledger import Ledger
from spanmeter.usage.outcome import Outcome
from spanmeter.usage.packing import packed, unpacked
from spanmeter.usage.trace import Trace, unpack_links

log = logging.getLogger("spanmeter.assembly")

ROWS_AT_ONCE = 200
TRACES_AT_ONCE = 1_000
"""Bounds a round of decisions, and with it how long the journal's writer may wait for the database."""

LARGE_SPANS = 1_000
PAUSE_A_SPAN_NS = 60_000_000
LONGEST_PAUSE_NS = 600_000_000_000
"""A decision stores the whole memory of its trace. One with more spans than that in it is not decided again before
60 ms for each of them have passed, ten minutes at most: so a trace that goes on for days costs little a second."""


@dataclass(slots=True)
class _Open:
    """A trace that is not decided: when its first and its latest span came (steady ns), and the spans themselves."""

    first_ns: int
    last_ns: int
    gathered: Gathered = field(default_factory=Gathered)
    rows: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Links:
    """Parents by span id, kept until `until_ns` (steady)."""

    until_ns: int = 0
    parents: dict[bytes, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class _Row:
    """A journal row that is still needed: by so many open traces, and as long as its links may be asked for."""

    open_traces: int = 0
    has_links: bool = False


class Assembler:
    """Follows the journal. One of these may run on a database at a time; a lock between processes sees to that.

    A trace is decided when it is whole (every LLM span's chain of parents reaches a root, or a remote parent with the
    tenant already known) and has been quiet for `quiet_ns`; at `max_ns` after its first span in any case. Ages are
    taken by the monotonic clock ("steady ns"), so that nothing is decided early or never because somebody sets the
    wall clock. Not thread-safe: one thread calls `step`.
    """

    def __init__(
        self,
        journal: Journal,
        ledger: Ledger,
        *,
        clock: Clock,
        rules: Rules,
        quiet_ns: int,
        max_ns: int,
        memory_ns: int,
        deliver: bool,
    ) -> None:
        self._journal = journal
        self._ledger = ledger
        self._clock = clock
        self._cautious = CautiousClock(clock)
        self._rules = rules
        self._quiet_ns = quiet_ns
        self._max_ns = max_ns
        self._memory_ns = memory_ns
        self._deliver = deliver
        self._after = 0
        self._open: dict[bytes, _Open] = {}
        self._due: list[tuple[int, tuple[bytes, ...]]] = []  # a heap: when, and which traces to look at then
        self._links: dict[bytes, _Links] = {}
        self._link_ages: deque[tuple[int, int, set[bytes]]] = deque()  # until when, which row, which traces
        self._rows: dict[int, _Row] = {}
        self._spent_rows: list[int] = []
        self._paused_until_ns: dict[bytes, int] = {}
        self._forgot_ns = 0
        self._caught_up = False
        self._parked = ledger.parked_traces()
        self._recent = RecentCalls(2 * max_ns)
        for memory in ledger.recent_memories(since_ns=clock.now_ns() - 2 * max_ns):
            facts = packed(memory.facts)
            self._recent.add(((facts.shapes[row[0]], row) for row in facts.rows), now_ns=self._steady_ns())

    @property
    def open_traces(self) -> int:
        return len(self._open)

    def step(self, *, close: bool = False) -> bool:
        """Read what is new, decide what is due, and store it. True if there may be more to do at once.

        With `close`, traces that are whole are decided though they have not been quiet long enough: for a process
        whose spans have all ended.
        """
        more = self._read()
        now_ns = self._steady_ns()
        more = self._decide(self._take_due(now_ns, close=close), now_ns) or more
        self._expire_links(now_ns)
        # Rows that were decided before a long stop are still in the journal: forget none of them before they were read.
        self._caught_up = self._caught_up or not more
        if self._caught_up and now_ns - self._forgot_ns > min(self._memory_ns, 60_000_000_000):
            if self._ledger.forget(before_ns=self._cautious.now_ns() - self._memory_ns):
                return True
            self._forgot_ns = now_ns
        return more

    def _read(self) -> bool:
        rows = self._journal.read(after=self._after, limit=ROWS_AT_ONCE)
        for row in rows:
            self._after = row.seq
            self._gather(row)
        return len(rows) == ROWS_AT_ONCE

    def _steady_ns(self) -> int:
        return round(self._clock.monotonic() * 1e9)

    def _gather(self, row: JournalRow) -> None:
        # A row from the future was written before the wall clock was set back: it has come now.
        came_ns = self._steady_ns() - max(0, self._clock.now_ns() - row.received_ns)
        touched: dict[bytes, _Open] = {}
        open_, seq, facts = self._open, row.seq, packed(row.facts)
        for packed_row in facts.rows:
            trace_id = packed_row[1]
            trace = open_.get(trace_id)
            if trace is None:
                trace = open_[trace_id] = _Open(came_ns, came_ns)
            trace.gathered.arrivals.append((seq, facts.shapes[packed_row[0]], packed_row))
            touched[trace_id] = trace
        for trace in touched.values():
            trace.rows.append(seq)
        held = self._rows[row.seq] = _Row(open_traces=len(touched), has_links=bool(row.links))
        linked: set[bytes] = set()
        until_ns = came_ns + self._max_ns
        for trace_id, span_id, parent in unpack_links(row.links):
            links = self._links.setdefault(trace_id, _Links())
            links.parents[span_id] = parent
            links.until_ns = max(links.until_ns, until_ns)
            linked.add(trace_id)
            trace = self._open.get(trace_id)
            if trace is None and trace_id in self._parked:  # it may be what leads a parked call to its tenant
                trace = self._open[trace_id] = _Open(came_ns, came_ns)
            if trace is not None:
                touched[trace_id] = trace
                if trace.rows[-1:] != [seq]:
                    trace.rows.append(seq)
                    held.open_traces += 1
        if linked:
            self._link_ages.append((until_ns, row.seq, linked))
        elif not held.open_traces:
            self._spent_rows.append(row.seq)
        for trace in touched.values():
            trace.last_ns = max(trace.last_ns, came_ns)
        if touched:
            heapq.heappush(self._due, (came_ns + self._quiet_ns, tuple(touched)))

    def _take_due(self, now_ns: int, *, close: bool) -> list[bytes]:
        due: list[bytes] = []
        if close:
            return [trace_id for trace_id, trace in self._open.items() if self._is_whole(trace_id, trace)]
        chosen: set[bytes] = set()
        not_whole: dict[int, list[bytes]] = defaultdict(list)
        while self._due and self._due[0][0] <= now_ns and len(due) < TRACES_AT_ONCE:
            when_ns, trace_ids = heapq.heappop(self._due)
            room = TRACES_AT_ONCE - len(due)
            if len(trace_ids) > room:
                heapq.heappush(self._due, (when_ns, trace_ids[room:]))
            for trace_id in trace_ids[:room]:
                trace = self._open.get(trace_id)
                if trace is None or trace_id in chosen:
                    continue
                until_ns = self._paused_until_ns.get(trace_id, 0)
                if now_ns < until_ns:
                    heapq.heappush(self._due, (until_ns, (trace_id,)))
                    continue
                last_chance = trace.first_ns + self._max_ns
                is_quiet = now_ns >= trace.last_ns + self._quiet_ns
                if now_ns >= last_chance or (is_quiet and self._is_whole(trace_id, trace)):
                    due.append(trace_id)
                    chosen.add(trace_id)
                elif is_quiet or last_chance < trace.last_ns + self._quiet_ns:
                    not_whole[last_chance].append(trace_id)
                # Otherwise a later span moved the trace's time, and has an entry of its own in the heap.
        for last_chance, waiting in not_whole.items():
            heapq.heappush(self._due, (last_chance, tuple(waiting)))
        return due

    def _is_whole(self, trace_id: bytes, trace: _Open) -> bool:
        arrivals = trace.gathered.arrivals
        if len(arrivals) == 1:
            _, shape, row = arrivals[0]
            if shape.call is not None and not row[3]:
                return True
        links = self._links.get(trace_id)
        known = Trace(
            facts={row[2]: unpacked(shape, row) for _, shape, row in arrivals},
            links=links.parents if links is not None else {},
        )
        if not arrivals:
            return True  # reopened by links alone
        calls = [facts for facts in known.facts.values() if facts.call is not None]
        if not calls:
            return trace_id in self._parked  # it may name the tenant that its calls lacked
        return all(known.is_settled(call) for call in calls)

    def _decide(self, due: list[bytes], now_ns: int) -> bool:
        """Decide these; true if there may be more. A trace that cannot be decided is set aside, the others go on."""
        if not due and not self._spent_rows:
            return False
        try:
            self._settle(due, now_ns)
        except StoreError:
            heapq.heappush(self._due, (now_ns, tuple(due)))
            raise
        except Exception:
            if len(due) < 2:
                log.exception("trace %s cannot be decided: set aside in the journal", *(one.hex() for one in due))
                for trace_id in due:
                    del self._open[trace_id]  # its rows stay, counted as not decided, and are tried at the next start
                return True
            half = len(due) // 2
            try:
                self._decide(due[:half], now_ns)
            finally:  # where the store fails, each half is put back
                self._decide(due[half:], now_ns)
        return len(due) == TRACES_AT_ONCE

    def _settle(self, due: list[bytes], now_ns: int) -> None:
        uses = Counter(seq for trace_id in due for seq in self._open[trace_id].rows)
        for trace_id in due:
            if trace_id in self._links:
                self._open[trace_id].gathered.links.update(self._links[trace_id].parents)
        settlement = settle_traces(
            {trace_id: self._open[trace_id].gathered for trace_id in due},
            self._ledger,
            rules=self._rules,
            recent=self._recent,
            oldest_row=next(iter(self._rows), 0),
        )
        settlement.finished_rows = self._spent_rows + [
            seq for seq, times in uses.items() if self._rows[seq].open_traces == times and not self._rows[seq].has_links
        ]
        self._ledger.settle(settlement, now_ns=self._clock.now_ns(), deliver=self._deliver)
        arrivals = (arrival for trace_id in due for arrival in self._open[trace_id].gathered.arrivals)
        self._recent.add(((shape, row) for _, shape, row in arrivals), now_ns=now_ns)
        parked = Outcome.PARKED
        self._parked.difference_update(settlement.plain)
        for trace_id, memory in settlement.memories.items():
            if len(memory.facts) > LARGE_SPANS:
                pause_ns = min(len(memory.facts) * PAUSE_A_SPAN_NS, LONGEST_PAUSE_NS)
                self._paused_until_ns[trace_id] = now_ns + pause_ns
            if any(was.outcome is parked for was in memory.outcomes.values()):
                self._parked.add(trace_id)
            else:
                self._parked.discard(trace_id)
        for seq, times in uses.items():
            self._rows[seq].open_traces -= times
        for trace_id in due:
            del self._open[trace_id]
        for seq in settlement.finished_rows:
            del self._rows[seq]
        self._spent_rows = []

    def _expire_links(self, now_ns: int) -> None:
        """Let go of links that are too old for any trace, and of the rows that held them."""
        if self._paused_until_ns:
            self._paused_until_ns = {key: until for key, until in self._paused_until_ns.items() if until > now_ns}
        while self._link_ages and self._link_ages[0][0] <= now_ns:
            _, seq, trace_ids = self._link_ages.popleft()
            still_open = trace_ids & self._open.keys()
            for trace_id in trace_ids - still_open:
                if trace_id in self._links and self._links[trace_id].until_ns <= now_ns:
                    del self._links[trace_id]
            if still_open:
                until_ns = max(self._open[trace_id].first_ns for trace_id in still_open) + self._max_ns
                self._link_ages.append((max(until_ns, now_ns + 1), seq, still_open))
            else:
                self._rows[seq].has_links = False
                if not self._rows[seq].open_traces:
                    self._spent_rows.append(seq)
