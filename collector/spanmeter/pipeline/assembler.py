"""Assembly: journalled spans gather by trace until the trace can be decided, and decisions become events."""

import heapq
import itertools
import logging
from collections.abc import Mapping
from operator import itemgetter

from spanmeter.clock import CautiousClock, Clock
from spanmeter.errors import ConflictError, StoreError
from spanmeter.pipeline.accounting import Gathered, Rules, settle_traces
from spanmeter.pipeline.presumption import Presumption
from spanmeter.pipeline.recent import RecentCalls
from spanmeter.pipeline.waiting import Waiting
from spanmeter.store.journal import Journal, trace_key
from spanmeter.store.ledger import Ledger, Settlement, TraceMemory
from spanmeter.usage.outcome import Outcome
from spanmeter.usage.packing import packed
from spanmeter.usage.trace import is_settled, unpack_links

log = logging.getLogger("spanmeter.assembly")

ROWS_AT_ONCE = 20
ROWS_A_STEP = 200
TRACES_AT_ONCE = 4_000
"""Bounds a round of decisions, and with it how long delivery may have to wait for the books: some 100 ms of CPU time,
and 20 MB. A quarter of that costs a third more a call: each writes into two indexes at random, whose pages a round
shares."""
TRACES_A_TURN = 20_000
"""So many are compared with all that came later at once, which costs the less a trace."""

NOTHING_REMEMBERED = TraceMemory()

LARGE_SPANS = 1_000
PAUSE_A_SPAN_NS = 60_000_000
LONGEST_PAUSE_NS = 600_000_000_000
"""A decision stores the whole memory of its trace. One with more spans than that in it is not decided again before
60 ms for each of them have passed, ten minutes at most: so a trace that goes on for days costs little a second."""


class Assembler:
    """Follows the journal. One of these may run on a database at a time; a lock between processes sees to that.

    A trace is decided when it is whole (every LLM span's chain of parents reaches a root, or a remote parent with the
    tenant already known) and has been quiet for `quiet_ns`; at `max_ns` after its first span in any case. Ages are
    taken by the monotonic clock ("steady ns"), so that nothing is decided early or never because somebody sets the
    wall clock. Not thread-safe: one thread calls `step`.

    The journal is the memory: what waits is an index of it, and the spans are read when their trace has its turn. The
    index goes no further than `quiet_ns` beyond a round of decisions, however far assembly is behind.
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
        self._memory_ns = memory_ns
        self._deliver = deliver
        self._after = 0
        self._has_read_all = False
        self._waiting = Waiting(quiet_ns=quiet_ns, max_ns=max_ns, parked=map(trace_key, ledger.parked_traces()))
        self._due: dict[int, bool] = {}  # which traces to look at, and whether they are decided in any case
        self._due_ns = 0  # when they were
        self._paused_until_ns: dict[int, int] = {}
        self._put_off: list[tuple[int, int, bool]] = []  # a heap: until when, and what was due
        self._forgot_ns = 0
        self._caught_up = False
        self._presumption = Presumption()
        self._recent = RecentCalls(2 * max_ns)
        for memory in ledger.recent_memories(since_ns=clock.now_ns() - 2 * max_ns):
            facts = packed(memory.facts)
            self._recent.add(((facts.shapes[row[0]], row) for row in facts.rows), now_ns=self._steady_ns())

    @property
    def open_traces(self) -> int:
        return self._waiting.open_traces

    def step(self, *, close: bool = False) -> bool:
        """Read what is new, decide what is due, and store it. True if there may be more to do at once.

        With `close`, traces that are whole are decided though they have not been quiet long enough: for a process
        whose spans have all ended.
        """
        self._read(to_the_end=close)
        now_ns = self._steady_ns()
        if not self._due:
            self._due, self._due_ns = self._take_due(now_ns), now_ns
        self._put_off_paused(now_ns)
        if close and self._has_read_all:
            self._due = {**dict.fromkeys(self._waiting.turn_all(), False), **self._due}
        self._decide(self._next_round(), now_ns)
        while close and self._due:
            self._decide(self._next_round(), now_ns)
        is_all = self._has_read_all
        # What became due meanwhile may wait for more of its like.
        more = not is_all or bool(self._due) or self._waiting.has_turns(self._due_ns, is_all=is_all)
        # Rows that were decided before a long stop are still in the journal: forget none of them before they were read.
        self._caught_up = self._caught_up or not more
        if self._caught_up and now_ns - self._forgot_ns > min(self._memory_ns, 60_000_000_000):
            if self._ledger.forget(before_ns=self._cautious.now_ns() - self._memory_ns):
                return True
            self._forgot_ns = now_ns
        return more

    def _read(self, *, to_the_end: bool) -> None:
        """Learn which traces the next rows speak of, as far as the turn of the oldest asks."""
        self._has_read_all = False
        for _ in range(ROWS_A_STEP // ROWS_AT_ONCE):
            if not (to_the_end or self._waiting.lacks_rows(traces=TRACES_A_TURN)):
                return
            rows = self._journal.read_traces(after=self._after, limit=ROWS_AT_ONCE)
            for row in rows:
                self._after = row.seq
                # A row from the future was written before the wall clock was set back: it has come now.
                age_ns = max(0, self._clock.now_ns() - row.received_ns)
                self._waiting.add(row, self._steady_ns() - age_ns)
            if len(rows) < ROWS_AT_ONCE:
                self._has_read_all = True
                return

    def _steady_ns(self) -> int:
        return round(self._clock.monotonic() * 1e9)

    def _take_due(self, now_ns: int) -> dict[int, bool]:
        """Traces to look at, and whether they are decided in any case."""
        waiting = self._waiting
        resumed: list[tuple[int, int, bool]] = []
        while self._put_off and self._put_off[0][0] <= now_ns:
            resumed.append(heapq.heappop(self._put_off))
        due = dict.fromkeys(waiting.turn(now_ns, most=TRACES_A_TURN, is_all=self._has_read_all), False)
        due.update(dict.fromkeys(waiting.quiet(key for _, key, is_overdue in resumed if not is_overdue), False))
        due.update(dict.fromkeys(waiting.with_young(key for _, key, is_overdue in resumed if is_overdue), True))
        due.update(dict.fromkeys(waiting.last_turn(now_ns, most=TRACES_A_TURN, is_all=self._has_read_all), True))
        return due

    def _put_off_paused(self, now_ns: int) -> None:
        self._paused_until_ns = {key: until for key, until in self._paused_until_ns.items() if until > now_ns}
        for key in self._paused_until_ns.keys() & self._due.keys():
            heapq.heappush(self._put_off, (self._paused_until_ns[key], key, self._due.pop(key)))

    def _next_round(self) -> dict[int, bool]:
        """Of what is due as much as makes all rounds alike: a small one costs more a trace."""
        rounds = -(-len(self._due) // TRACES_AT_ONCE)
        if rounds <= 1:
            round_, self._due = self._due, {}
            return round_
        return {key: self._due.pop(key) for key in list(itertools.islice(self._due, -(-len(self._due) // rounds)))}

    def _decide(self, due: dict[int, bool], now_ns: int) -> None:
        """Decide those of these that can be, and remove what nobody needs any more."""
        if due:
            try:
                found = self._gather(due)
            except StoreError:
                self._due = {**due, **self._due}
                raise
            self._settle_or_halve(found, due, now_ns)
        # What was decided on them is durable by now. Where they stay, they are passed over: see `settle_traces`.
        if self._waiting.spent_rows:
            self._journal.remove(self._waiting.spent_rows)
            self._waiting.removed()

    def _gather(self, due: Mapping[int, bool]) -> dict[bytes, Gathered]:
        """What came of these traces, as far as they are whole, or decided in any case."""
        found: dict[bytes, Gathered] = {}
        for row in self._journal.read_of(self._waiting.rows_of(due)):
            facts, seq = packed(row.facts), row.seq
            shapes = facts.shapes
            for one in facts.rows:
                trace = found.get(one[1])
                if trace is None:
                    found[one[1]] = Gathered([(seq, shapes[one[0]], one)])
                else:
                    trace.arrivals.append((seq, shapes[one[0]], one))
            for trace_id, span_id, parent in unpack_links(row.links):
                trace = found.get(trace_id)
                if trace is None:
                    trace = found[trace_id] = Gathered()
                trace.links[span_id] = parent
        waits = [one for one, trace in found.items() if not self._is_whole(one, trace) and not due[trace_key(one)]]
        if waits:
            memories = self._ledger.memories(waits)
            for trace_id in waits:
                if trace_id not in memories or not self._is_whole(trace_id, found[trace_id], memories[trace_id]):
                    del found[trace_id]
        return found

    def _is_whole(self, trace_id: bytes, trace: Gathered, memory: TraceMemory = NOTHING_REMEMBERED) -> bool:
        arrivals = trace.arrivals
        if len(arrivals) == 1:
            _, shape, row = arrivals[0]
            if shape.call is not None and not row[3]:
                return True
        if not arrivals:
            return True  # reopened by links alone
        calls = [
            (row[2], (row[3], row[4], bool(row[7] or shape.baggage_tenant)))
            for _, shape, row in arrivals
            if shape.call is not None
        ]
        if not calls:
            return trace_key(trace_id) in self._waiting.parked  # it may name the tenant that its calls lacked
        places = {one.span_id: (one.parent_span_id, one.parent_is_remote, bool(one.tenant)) for one in memory.facts}
        places.update((row[2], (row[3], row[4], bool(row[7]))) for _, _, row in arrivals)
        links = {**memory.links, **trace.links} if memory.links else trace.links
        return all(is_settled(span_id, place, places=places, links=links) for span_id, place in calls)

    def _settle_or_halve(self, found: dict[bytes, Gathered], due: Mapping[int, bool], now_ns: int) -> None:
        """A trace that cannot be decided is set aside, the others go on."""
        if not found:
            return
        try:
            self._settle(found, now_ns)
        except StoreError:
            self._due = {**{key: due[key] for key in map(trace_key, found)}, **self._due}
            raise
        except Exception:
            if len(found) < 2:
                log.exception("trace %s cannot be decided: set aside in the journal", *(one.hex() for one in found))
                # Its rows stay, counted as not decided, and are tried at the next start.
                self._waiting.set_aside(map(trace_key, found))
                return
            traces = list(found)
            half = len(traces) // 2
            try:
                self._settle_or_halve({one: found[one] for one in traces[:half]}, due, now_ns)
            finally:  # where the store fails, each half is put back
                self._settle_or_halve({one: found[one] for one in traces[half:]}, due, now_ns)

    def _settle(self, found: Mapping[bytes, Gathered], now_ns: int) -> None:
        waiting = self._waiting
        settlement = self._decided(found)
        keys = [trace_key(trace_id) for trace_id in found]
        arrivals = itertools.chain.from_iterable([trace.arrivals for trace in found.values()])
        self._recent.add(map(itemgetter(1, 2), arrivals), now_ns=now_ns)
        waiting.decided(keys)
        parked = Outcome.PARKED
        remembered = [(trace_id, memory.facts) for trace_id, memory in settlement.memories.items()]
        sizes = [(one, len(spans)) for one, spans in remembered if len(spans) > LARGE_SPANS]
        sizes += [
            (one, len(call.arrivals)) for one, call in settlement.plain.items() if len(call.arrivals) > LARGE_SPANS
        ]
        for trace_id, spans in sizes:
            pause_ns = min(spans * PAUSE_A_SPAN_NS, LONGEST_PAUSE_NS)
            self._paused_until_ns[trace_key(trace_id)] = now_ns + pause_ns
        if waiting.parked:
            waiting.parked.difference_update(map(trace_key, settlement.plain))
        for trace_id, memory in settlement.memories.items():
            key = trace_key(trace_id)
            if any(was.outcome is parked for was in memory.outcomes.values()):
                waiting.parked.add(key)
            else:
                waiting.parked.discard(key)

    def _decided(self, found: Mapping[bytes, Gathered]) -> Settlement:
        """Decide these, and store it."""
        presumption = self._presumption
        if presumption.make():
            try:
                settlement = self._stored(found, presume_new=True)
            except ConflictError:
                presumption.refuted()
            else:
                presumption.confirmed()
                return settlement
        return self._stored(found, presume_new=False)

    def _stored(self, found: Mapping[bytes, Gathered], *, presume_new: bool) -> Settlement:
        settlement = settle_traces(
            found,
            self._ledger,
            rules=self._rules,
            recent=self._recent,
            oldest_row=self._waiting.oldest_row,
            presume_new=presume_new,
        )
        self._ledger.settle(settlement, now_ns=self._clock.now_ns(), deliver=self._deliver)
        return settlement
