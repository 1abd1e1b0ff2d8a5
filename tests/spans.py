"""Spans for tests: what matters is said, the rest has a default. Ids are small integers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanmeter.store.journal import JournalEntry
from spanmeter.usage.call import LlmCall, Role, SpanFacts, Usage
from spanmeter.usage.span import NO_PARENT, AttributeValue, Scope, Span
from spanmeter.wire.request import DecodedRequest, Rejections
from tests.unit.wire.bodies import set_attributes

NOW_NS = 1_767_225_600_000_000_000
"""2026-01-01T00:00:00Z, where `ManualClock` starts."""
SECOND_NS = 1_000_000_000
SPECIFIC_ID = "chatcmpl-AbCdEfGh1234567890"
"""A response id that can belong to one call only."""


def trace_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def span_id(number: int) -> bytes:
    return number.to_bytes(8, "big")


def parent_id(number: int) -> bytes:
    """Of a span whose parent is `number`; 0 is none."""
    return span_id(number) if number else NO_PARENT


def llm_call(input_tokens: int = 10, output_tokens: int = 5, **fields: Any) -> LlmCall:
    """A recognised call with disjoint counts; `usage=None` for one without."""
    usage = Usage(input=input_tokens, output=output_tokens)
    given: dict[str, Any] = {
        "role": Role.CALL,
        "dialect": "test",
        "operation": "chat",
        "provider": "openai",
        "request_model": "gpt-4o-mini",
        "usage": usage,
    }
    return LlmCall(**(given | fields))


def facts(number: int = 1, *, trace: int = 1, parent: int = 0, **fields: Any) -> SpanFacts:
    """The facts of an LLM call of ten and five tokens; `call=None` makes a carrier. A span lasts a second and starts
    as many seconds after `NOW_NS` as its number says."""
    start_ns = NOW_NS + number * SECOND_NS
    given: dict[str, Any] = {
        "trace_id": trace_id(trace),
        "span_id": span_id(number),
        "parent_span_id": parent_id(parent),
        "start_ns": start_ns,
        "end_ns": start_ns + SECOND_NS,
        "scope": "test",
        "call": llm_call(),
    }
    return SpanFacts(**(given | fields))


def carrier(number: int, tenant: str, **fields: Any) -> SpanFacts:
    """The facts of a span that only names a tenant."""
    return facts(number, tenant=tenant, tenant_key="tenant.id", **({"call": None} | fields))


def link(number: int, *, trace: int = 1, parent: int = 0) -> bytes:
    """A span without facts, as the journal has it."""
    return trace_id(trace) + span_id(number) + (parent_id(parent) or bytes(8))


def entry(
    *spans: SpanFacts, links: Sequence[bytes] = (), received_ns: int = NOW_NS, rejected: int = 0, others: int = 0
) -> JournalEntry:
    """A journalled request; `others` are spans that count and leave no trace."""
    return JournalEntry(
        received_ns=received_ns,
        facts=spans,
        links=b"".join(links),
        spans=len(spans) + len(links) + rejected + others,
        rejected=rejected,
    )


def span(
    number: int = 1,
    *,
    trace: int = 1,
    parent: int = 0,
    tokens: tuple[int, int] | None = (10, 5),
    tenant: str = "",
    response_id: str = "",
    attributes: Mapping[str, AttributeValue] | None = None,
    **fields: Any,
) -> Span:
    """A decoded `chat` span of the OpenTelemetry conventions; with `tokens=None` one that is no LLM span."""
    named: dict[str, AttributeValue] = {}
    if tokens is not None:
        named = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.usage.input_tokens": tokens[0],
            "gen_ai.usage.output_tokens": tokens[1],
        }
    if tenant:
        named["tenant.id"] = tenant
    if response_id:
        named["gen_ai.response.id"] = response_id
    start_ns = NOW_NS + number * SECOND_NS
    given: dict[str, Any] = {
        "trace_id": trace_id(trace),
        "span_id": span_id(number),
        "parent_span_id": parent_id(parent),
        "name": "chat" if tokens is not None else "work",
        "start_ns": start_ns,
        "end_ns": start_ns + SECOND_NS,
        "attributes": named | dict(attributes or {}),
        "scope": Scope(name="test", version="1"),
    }
    return Span(**(given | fields))


def request(*spans: Span, links: Sequence[bytes] = (), rejected: int = 0) -> DecodedRequest:
    """What a decoder makes of one request."""
    rejections = Rejections()
    for _ in range(rejected):
        rejections.add("a fault")
    return DecodedRequest(
        spans=spans,
        links=b"".join(links),
        span_count=len(spans) + len(links) + rejected,
        rejections=rejections,
    )


def otlp(spans: Iterable[Span]) -> ExportTraceServiceRequest:
    """The request as OpenTelemetry's own message."""
    message = ExportTraceServiceRequest()
    scope_spans = message.resource_spans.add().scope_spans.add()
    scope_spans.scope.name = "test"
    for one in spans:
        made = scope_spans.spans.add(
            trace_id=one.trace_id,
            span_id=one.span_id,
            parent_span_id=one.parent_span_id,
            name=one.name,
            start_time_unix_nano=one.start_ns,
            end_time_unix_nano=one.end_ns,
        )
        set_attributes(made.attributes, one.attributes)
    return message
