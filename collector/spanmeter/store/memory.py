"""What is remembered of decided traces, as it stands in the database.

A memory is one row: of each span what is its own, and the rest by number. What is alike in the memories of one round
of decisions (the spans' shapes, see `spanmeter.usage.packing`; outcomes with reasons) is stored once, with the round.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter, itemgetter

import msgspec

from spanmeter.store.filing import file_keys
from spanmeter.store.statements import MADE_AT_ONCE, Transaction
from spanmeter.usage.call import LlmCall, SpanFacts
from spanmeter.usage.outcome import Outcome, Reason, is_final
from spanmeter.usage.packing import Counts, PackedFacts, counts_of, packed, unpacked
from spanmeter.usage.plain import PlainCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The outcome that a span has in the books."""

    outcome: Outcome
    reason: Reason
    identity: str = ""

    @property
    def is_final(self) -> bool:
        return is_final(self.outcome, self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceMemory:
    """What is remembered of a decided trace. `rows` are the journal rows whose spans are accounted for in it,
    `version` counts how often it was stored: who read an older one may not overwrite it."""

    facts: list[SpanFacts] = field(default_factory=list)
    links: dict[bytes, bytes] = field(default_factory=dict)
    outcomes: dict[bytes, Recorded] = field(default_factory=dict)
    rows: list[int] = field(default_factory=list)
    version: int = 0


def memory_of(call: PlainCall) -> TraceMemory:
    """What is remembered of its trace."""
    recorded = Recorded(outcome=Outcome.BILLED, reason=Reason.OWN_CALL, identity=call.identity)
    return TraceMemory(
        facts=[unpacked(shape, row) for _, shape, row in call.arrivals],
        links=dict(call.links),
        outcomes={call.span_id: recorded},
        rows=sorted({seq for seq, *_ in call.arrivals}),
    )


_FORMAT = 2
_BEGINNING = b"\x94\x02"
"""An array of four, the first of which is the format. Before there were formats a memory was a map."""
_Verdict = tuple[Outcome, Reason]
_BILLED = (Outcome.BILLED, Reason.OWN_CALL)
_Span = tuple[int, bytes, bytes, bool | None, int, int, str, str, Counts | None, int, str | None]
"""A row of `PackedFacts` without the trace's id, the number of its outcome (-1 for none), and the call's identity, None
for the response's id."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, list[_Span], dict[bytes, bytes], list[int]]).decode
_decode_alike = msgspec.msgpack.Decoder(tuple[list[SpanFacts], list[_Verdict]]).decode
_decode_old = msgspec.msgpack.Decoder(TraceMemory).decode

# All that a shape is made of: to compare these takes a tenth of the time that making the shape does.
_OWN = {"trace_id", "span_id", "parent_span_id", "parent_is_remote", "start_ns", "end_ns", "tenant", "call"}
_alike_in_span = attrgetter(*(one.name for one in fields(SpanFacts) if one.name not in _OWN))
_alike_in_call = attrgetter(*(one.name for one in fields(LlmCall) if one.name not in {"response_id", "usage"}))


class _Round:
    """Packs the memories of a round, and holds what is alike in them."""

    def __init__(self) -> None:
        self._shapes = PackedFacts()
        self._verdicts: dict[_Verdict, int] = {}
        self._known: dict[int, int] = {}  # shapes by their `id`: a round holds on to them

    def alike(self) -> bytes:
        return _encode((self._shapes.shapes, [*self._verdicts]))

    def row(self, seq: int, trace_id: bytes, trace: TraceMemory | PlainCall) -> tuple[int, bytes, int, bytes]:
        """Number, id, version, memory."""
        if isinstance(trace, PlainCall):
            return seq, trace_id, 1, self.packed_plain(trace)
        return seq, trace_id, trace.version + 1, self.packed(trace)

    def packed(self, memory: TraceMemory) -> bytes:
        spans = []
        for facts in memory.facts:
            call, was = facts.call, memory.outcomes.get(facts.span_id)
            response_id = "" if call is None else call.response_id
            verdict, identity = -1, None
            if was is not None:
                verdict = self._verdicts.setdefault((was.outcome, was.reason), len(self._verdicts))
                identity = None if was.identity == response_id else was.identity
            spans.append(
                (
                    *(self._shape(facts, call), facts.span_id, facts.parent_span_id, facts.parent_is_remote),
                    *(facts.start_ns, facts.end_ns, facts.tenant, response_id),
                    None if call is None or call.usage is None else counts_of(call.usage),
                    *(verdict, identity),
                )
            )
        return _encode((_FORMAT, spans, memory.links, memory.rows))

    def packed_plain(self, call: PlainCall) -> bytes:
        """As `packed` makes it of `memory_of(call)`."""
        billed = self._verdicts.setdefault(_BILLED, len(self._verdicts))
        known = self._known
        spans = []
        for _, shape, row in call.arrivals:
            number = known.get(id(shape))
            if number is None:
                number = known[id(shape)] = self._shape(shape, shape.call)
            if row[2] == call.row[2]:
                spans.append((number, *row[2:], billed, None if call.identity == row[8] else call.identity))
            else:
                spans.append((number, *row[2:], -1, None))
        arrivals = call.arrivals
        rows = [arrivals[0][0]] if len(arrivals) == 1 else sorted({seq for seq, *_ in arrivals})
        return _encode((_FORMAT, spans, call.links, rows))

    def _shape(self, facts: SpanFacts, call: LlmCall | None) -> int:
        key = (_alike_in_span(facts), None if call is None else _alike_in_call(call))
        number = self._shapes.number(key)
        return self._shapes.add_shape(key, packed([facts]).shapes[0]) if number is None else number


def write_memories(
    transaction: Transaction, memories: Mapping[bytes, TraceMemory], *, plain: Iterable[PlainCall] = (), now_ns: int
) -> bool:
    """Store these, and the traces of `plain` calls, as a round of decisions. False, and the transaction has to be given
    up, if one of the traces has another version than was read."""
    round_ = _Round()
    first: int = transaction.execute("memory_next").fetchone()[0]
    # In the order of the index, whose pages are then touched once each.
    traces: list[tuple[bytes, TraceMemory | PlainCall]] = [(call.trace_id, call) for call in plain]
    traces += memories.items()
    traces.sort(key=itemgetter(0))
    if not traces:
        return True
    outdated = [(memory.version, trace_id) for trace_id, memory in memories.items() if memory.version]
    if transaction.execute_many("memory_outdated", outdated) != len(outdated):
        return False
    for at in range(0, len(traces), MADE_AT_ONCE):
        some = enumerate(traces[at : at + MADE_AT_ONCE], first + at)
        transaction.execute_many("memory_write", [round_.row(seq, *trace) for seq, trace in some])
    transaction.execute("round_write", first, now_ns, round_.alike())
    if transaction.execute("trace_ids_write", first).rowcount != len(traces):
        return False
    file_keys(transaction, "trace", first, first + len(traces))
    return True


def read_memories(rows: Iterable[tuple[bytes, int, bytes, bytes]]) -> Iterator[tuple[bytes, TraceMemory]]:
    """Of (trace id, version, memory, what is alike in its round)."""
    rounds: dict[bytes, tuple[list[SpanFacts], list[_Verdict]]] = {}
    for trace_id, version, stored, alike in rows:
        if not stored.startswith(_BEGINNING):
            yield trace_id, replace(_decode_old(stored), version=version)
            continue
        if alike not in rounds:
            rounds[alike] = _decode_alike(alike)
        yield trace_id, _memory(trace_id, version, stored, *rounds[alike])


def _memory(
    trace_id: bytes, version: int, stored: bytes, shapes: list[SpanFacts], verdicts: list[_Verdict]
) -> TraceMemory:
    _, spans, links, rows = _decode(stored)
    outcomes = {}
    for _, span_id, *_, response_id, _, verdict, identity in spans:
        if verdict >= 0:
            outcome, reason = verdicts[verdict]
            name = response_id if identity is None else identity
            outcomes[span_id] = Recorded(outcome=outcome, reason=reason, identity=name)
    return TraceMemory(
        facts=[*PackedFacts(shapes, [(span[0], trace_id, *span[1:9]) for span in spans])],
        links=links,
        outcomes=outcomes,
        rows=rows,
        version=version,
    )
