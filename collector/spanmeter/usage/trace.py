"""The spans of one trace as far as they are known, and who is whose parent."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from spanmeter.usage.call import Role, SpanFacts
from spanmeter.usage.span import LINK_BYTES, NO_PARENT, NO_PARENT_LINK

_CALL = Role.CALL  # looked up once: in Python 3.11 an enum's member costs a call of a function


@dataclass(slots=True)
class Trace:
    """Facts by span id, and for spans without facts their parent's id (empty for a root)."""

    facts: dict[bytes, SpanFacts] = field(default_factory=dict)
    links: dict[bytes, bytes] = field(default_factory=dict)
    _calls: list[SpanFacts] | None = None

    def ancestors(self, span: SpanFacts) -> Iterator[SpanFacts | None]:
        """From the parent upwards, None for one known only by its link. Ends at the root, a gap or a cycle."""
        if span.parent_span_id == NO_PARENT:
            return
        seen = {span.span_id}
        parent = span.parent_span_id
        while parent and parent not in seen:
            seen.add(parent)
            facts = self.facts.get(parent)
            if facts is None and parent not in self.links:
                return
            yield facts
            parent = facts.parent_span_id if facts is not None else self.links[parent]

    def is_whole(self, span: SpanFacts) -> bool:
        """Whether the chain of parents from `span` reaches a root of the whole trace."""
        if span.parent_span_id == NO_PARENT:
            return True
        seen: set[bytes] = set()
        at, parent = span.span_id, span.parent_span_id
        while parent != NO_PARENT:
            if at in seen:
                return True  # a cycle: no further span can mend it
            seen.add(at)
            at = parent
            facts = self.facts.get(at)
            if facts is None and at not in self.links:
                return False
            parent = facts.parent_span_id if facts is not None else self.links[at]
        return True

    def is_settled(self, span: SpanFacts) -> bool:
        """Whether no span that may still come can change who pays for `span`: its chain is whole, or it has a tenant
        before it leaves for another process, whose spans may come by another way or never."""
        if self.is_whole(span):
            return True
        top, named = span, bool(span.tenant or span.baggage_tenant)
        for ancestor in self.ancestors(span):
            if ancestor is None:
                return False
            top, named = ancestor, named or bool(ancestor.tenant)
        return named and top.parent_is_remote is True

    def calls_of_models(self) -> list[SpanFacts]:
        """The spans that record a call to a model, in no order; asked for first when all facts are there."""
        if self._calls is None:
            self._calls = [facts for facts in self.facts.values() if is_call(facts)]
        return self._calls

    def calls(self) -> Iterator[SpanFacts]:
        """The spans that a dialect recognised, oldest first, in an order that does not depend on arrival."""
        return iter(
            sorted(
                (facts for facts in self.facts.values() if facts.call is not None),
                key=lambda facts: (facts.start_ns, facts.span_id),
            )
        )


def is_call(span: SpanFacts) -> bool:
    """Whether a span records a call to a model with counts that can be believed, or none."""
    call = span.call
    return call is not None and call.role is _CALL and not call.problem


def unpack_links(packed: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """(trace id, span id, parent span id) of every 32-byte link."""
    for at in range(0, len(packed), LINK_BYTES):
        parent = packed[at + 24 : at + 32]
        yield packed[at : at + 16], packed[at + 16 : at + 24], NO_PARENT if parent == NO_PARENT_LINK else parent
