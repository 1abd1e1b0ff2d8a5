"""Offline: recorded OTLP in, events out, by the same rules as the collector's and without a database."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from spanmeter.pipeline.accounting import Arrival, Gathered, Rules, settle_traces
from spanmeter.store.ledger import Billed, Settlement, Tally, TraceMemory
from spanmeter.usage.decision import Decision
from spanmeter.usage.outcome import uninteresting
from spanmeter.usage.recognition import Recogniser
from spanmeter.usage.trace import unpack_links
from spanmeter.wire.request import DecodedRequest


class _EmptyBooks:
    """A ledger in which nothing was ever recorded."""

    def memories(self, trace_ids: Collection[bytes]) -> Mapping[bytes, TraceMemory]:
        return {}

    def recent_memories(self, *, since_ns: int) -> Iterator[TraceMemory]:
        return iter(())

    def billed(self, source: str, event_ids: Collection[str]) -> Mapping[str, Billed]:
        return {}

    def parked_with(self, identities: Collection[str]) -> Sequence[Decision]:
        return ()

    def parked_traces(self) -> set[bytes]:
        return set()

    def settle(self, settlement: Settlement, *, now_ns: int, deliver: bool) -> None:
        raise NotImplementedError

    def forget(self, *, before_ns: int) -> bool:
        raise NotImplementedError


@dataclass(slots=True)
class Conversion:
    """Requests gathered by `add`, decided together by `settle`."""

    recogniser: Recogniser
    rules: Rules
    now_ns: int
    requests: int = 0
    spans: int = 0
    llm_spans: int = 0
    rejected: int = 0
    _traces: dict[bytes, Gathered] = field(default_factory=dict)
    _links: dict[bytes, dict[bytes, bytes]] = field(default_factory=dict)

    def add(self, requests: Iterable[DecodedRequest]) -> None:
        for request in requests:
            self.requests += 1
            self.spans += request.span_count
            self.rejected += request.rejected
            for span in request.spans:
                facts = self.recogniser.facts(span, received_ns=self.now_ns)
                if facts is None:
                    self._links.setdefault(span.trace_id, {})[span.span_id] = span.parent_span_id
                else:
                    self.llm_spans += facts.call is not None
                    gathered = self._traces.setdefault(span.trace_id, Gathered())
                    gathered.arrivals.append(Arrival(row=self.requests, facts=facts))
            for trace_id, span_id, parent in unpack_links(request.links):
                self._links.setdefault(trace_id, {})[span_id] = parent

    def settle(self) -> Settlement:
        """Decide everything that was added. The tallies cover every span, those of no interest included."""
        for trace_id, gathered in self._traces.items():
            gathered.links.update(self._links.get(trace_id, {}))
        settlement = settle_traces(self._traces, _EmptyBooks(), rules=self.rules)
        for (outcome, reason), spans in uninteresting(
            spans=self.spans, llm_spans=self.llm_spans, rejected=self.rejected
        ).items():
            settlement.tally(outcome, reason, Tally(spans=spans))
        return settlement
