"""OTLP requests made with OpenTelemetry's own message classes, in both encodings."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

from spanmeter.usage.span import AttributeValue, Vocabulary
from spanmeter.wire import json as otlp_json
from spanmeter.wire import protobuf
from spanmeter.wire.request import DecodedRequest

VOCABULARY = Vocabulary(
    keys=frozenset(
        {
            "gen_ai.request.model",
            "gen_ai.usage.input_tokens",
            "gen_ai.usage.output_tokens",
            "tenant.id",
            "llm.options",
            "llm.a_key_of_more_than_one_hundred_and_twenty_seven_characters." + "x" * 100,
            "service.name",
        }
    ),
    markers=("gen_ai.", "tenant.id", "llm."),
)
TRACE_ID = bytes(range(1, 17))
SPAN_ID = bytes(range(21, 29))
PARENT_ID = bytes(range(31, 39))


def request() -> tuple[ExportTraceServiceRequest, Any]:
    """A request with one resource and scope, and its list of spans."""
    message = ExportTraceServiceRequest()
    resource_spans = message.resource_spans.add()
    set_attributes(resource_spans.resource.attributes, {"service.name": "agent", "host.name": "h1"})
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = "opentelemetry.instrumentation.openai_v2"
    scope_spans.scope.version = "2.4"
    return message, scope_spans.spans


def add_span(spans: Any, attributes: Mapping[str, AttributeValue], **fields: Any) -> ProtoSpan:
    span: ProtoSpan = spans.add(**{"trace_id": TRACE_ID, "span_id": SPAN_ID, "name": "chat", "kind": 3} | fields)
    set_attributes(span.attributes, attributes)
    return span


def set_attributes(target: Any, attributes: Mapping[str, AttributeValue]) -> None:
    for key, value in attributes.items():
        item: KeyValue = target.add(key=key)
        set_value(item.value, value)


def set_value(target: AnyValue, value: AttributeValue) -> None:
    match value:
        case None:
            target.SetInParent()
        case bool():
            target.bool_value = value
        case int():
            target.int_value = value
        case float():
            target.double_value = value
        case str():
            target.string_value = value
        case bytes():
            target.bytes_value = value
        case Mapping():
            target.kvlist_value.SetInParent()
            set_attributes(target.kvlist_value.values, value)
        case _:
            target.array_value.SetInParent()
            for item in value:
                set_value(target.array_value.values.add(), item)


def decode_protobuf(body: bytes, vocabulary: Vocabulary = VOCABULARY) -> DecodedRequest:
    """With nothing left encoded."""
    return protobuf.decode_protobuf(body, vocabulary).decoded()


def decode_json(body: bytes, vocabulary: Vocabulary = VOCABULARY) -> DecodedRequest:
    """With nothing left as it is written."""
    return otlp_json.decode_json(body, vocabulary).decoded()


def to_json(message: ExportTraceServiceRequest) -> bytes:
    """protobuf's JSON mapping, and OTLP's departures from it: ids in hexadecimal, enums as integers."""
    document = MessageToDict(message, use_integers_for_enums=True)
    for resource_spans in document.get("resourceSpans", ()):
        for scope_spans in resource_spans.get("scopeSpans", ()):
            for span in scope_spans.get("spans", ()):
                for name in ("traceId", "spanId", "parentSpanId"):
                    if name in span:
                        span[name] = base64.b64decode(span[name]).hex()
    return json.dumps(document).encode()


def varint(value: int, *, bytes_more: int = 0) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    for _ in range(bytes_more):
        encoded[-1] |= 0x80
        encoded.append(0)
    return bytes(encoded)


def field(number: int, contents: bytes, *, bytes_more: int = 0) -> bytes:
    """Of a message: one that has a length, in so many more bytes than needed."""
    return varint(number << 3 | 2) + varint(len(contents), bytes_more=bytes_more) + contents
