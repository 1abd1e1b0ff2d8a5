"""Spans of particular instrumentations, for the tests of their dialects."""

from spanmeter.usage.call import LlmCall, Role
from spanmeter.usage.dialects import DIALECTS
from spanmeter.usage.span import Attributes, Scope, Span
from tests.spans import span


def span_of(
    scope: str, name: str, attributes: Attributes, *, version: str = "", is_error: bool = False, number: int = 1
) -> Span:
    """A span as this scope writes it, with no attribute but these."""
    return span(
        number,
        tokens=None,
        name=name,
        attributes=attributes,
        scope=Scope(name=scope, version=version),
        is_error=is_error,
    )


def recognised(found: Span) -> LlmCall | None:
    """The LLM span that all dialects in their order make of it, each seeing only what its vocabulary has."""
    for dialect in DIALECTS:
        call = dialect.recognise(found)
        if call is not None:
            return call if call.role is not Role.TOOL else None
    return None


def known(found: Span) -> LlmCall:
    call = recognised(found)
    assert call is not None
    return call
