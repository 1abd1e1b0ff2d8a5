"""OTLP requests as a client of ours sends them: small, and with what matters for a bill."""

import secrets
import time
from collections.abc import Mapping, Sequence

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

MODEL = "gpt-4o-mini"
TENANT = "acme"
PROTOBUF = "application/x-protobuf"
JSON = "application/json"

Value = str | int


def new_response_id() -> str:
    """As OpenAI draws them."""
    return f"chatcmpl-{secrets.token_hex(14)}"


def call_attributes(response_id: str, *, input_tokens: int = 11, output_tokens: int = 7) -> dict[str, Value]:
    """What an LLM call's span says by OpenTelemetry's conventions, and whose it is."""
    return {
        "tenant.id": TENANT,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": MODEL,
        "gen_ai.response.model": MODEL,
        "gen_ai.response.id": response_id,
        "gen_ai.usage.input_tokens": input_tokens,
        "gen_ai.usage.output_tokens": output_tokens,
    }


def call_span(attributes: Mapping[str, Value], *, trace_id: bytes | None = None, span_id: bytes | None = None) -> Span:
    """A root span that has just ended, of a trace of its own."""
    end_ns = time.time_ns()
    return Span(
        trace_id=secrets.token_bytes(16) if trace_id is None else trace_id,
        span_id=secrets.token_bytes(8) if span_id is None else span_id,
        name=f"chat {MODEL}",
        start_time_unix_nano=end_ns - 1_000_000,
        end_time_unix_nano=end_ns,
        attributes=[KeyValue(key=key, value=_value(value)) for key, value in attributes.items()],
    )


def request_of(spans: Sequence[Span]) -> ExportTraceServiceRequest:
    scope = ScopeSpans(spans=spans)
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[scope])])


def call_request(response_id: str) -> ExportTraceServiceRequest:
    """One call of `TENANT`: 11 tokens in, 7 out."""
    return request_of([call_span(call_attributes(response_id))])


def _value(value: Value) -> AnyValue:
    return AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value)
