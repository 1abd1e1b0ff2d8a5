import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanmeter.errors import MalformedError
from spanmeter.usage.span import AttributeValue
from spanmeter.wire.json import is_incomplete
from tests.unit.wire.bodies import PARENT_ID, SPAN_ID, TRACE_ID, decode_json

SECRET = "the prompt's text"


def document(*spans: dict[str, Any]) -> dict[str, Any]:
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}


def span(**fields: Any) -> dict[str, Any]:
    return {"traceId": TRACE_ID.hex(), "spanId": SPAN_ID.hex()} | fields


def tenant(value: Any) -> dict[str, Any]:
    return span(attributes=[{"key": "tenant.id", "value": value}])


def decode_value(value: Any) -> AttributeValue:
    [decoded] = decode_json(json.dumps(document(tenant(value))).encode()).spans
    return decoded.attributes["tenant.id"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"stringValue": "null"}, "null"),
        ({"stringValue": "12"}, "12"),
        ({"intValue": "9223372036854775807"}, 2**63 - 1),
        ({"intValue": "-5"}, -5),
        ({"intValue": 7}, 7),
        ({"intValue": 2**63}, 2**63),
        ({"intValue": 1e21}, 1e21),
        ({"intValue": "1.5"}, 1.5),
        ({"doubleValue": 2}, 2.0),
        ({"doubleValue": "-Infinity"}, float("-inf")),
        ({"boolValue": False}, False),
        ({"bytesValue": "AP8="}, b"\x00\xff"),
        ({"stringValue": None, "intValue": "1"}, 1),
        ({"arrayValue": {"values": [{"stringValue": "a"}, {}]}}, ("a", None)),
        ({"arrayValue": {}}, ()),
        ({"kvlistValue": {"values": [{"key": "a", "value": {"intValue": 1}}, {"key": "b"}]}}, {"a": 1, "b": None}),
        ({}, None),
        (None, None),
    ],
    ids=str,
)
def test_values(value: Any, expected: AttributeValue) -> None:
    found = decode_value(value)
    assert found == expected
    assert type(found) is type(expected)


def test_not_a_number() -> None:
    found = decode_value({"doubleValue": "NaN"})
    assert found != found  # noqa: PLR0124


def test_null_is_absent_everywhere() -> None:
    nothing = dict.fromkeys(
        ("parentSpanId", "name", "startTimeUnixNano", "endTimeUnixNano", "attributes", "status", "flags", "kind")
    )
    body = document(span(**nothing))
    body["resourceSpans"] += [{"resource": None, "scopeSpans": None}, {"scopeSpans": [{"scope": None, "spans": None}]}]
    decoded = decode_json(json.dumps(body).encode())
    assert decoded.links == TRACE_ID + SPAN_ID + bytes(8)
    assert decode_json(b'{"resourceSpans":null}').span_count == 0


def test_ids_may_be_in_capitals_and_unknown_fields_are_ignored() -> None:
    raw = span(traceId=TRACE_ID.hex().upper(), parentSpanId=PARENT_ID.hex(), events=[{"x": [1, {}]}], kind=3)
    decoded = decode_json(json.dumps(document(raw) | {"future": {"a": [1]}}).encode())
    assert decoded.links == TRACE_ID + SPAN_ID + PARENT_ID


@pytest.mark.parametrize("code", [2, "2", "STATUS_CODE_ERROR"], ids=repr)
def test_error_status(code: int | str) -> None:
    raw = tenant({"stringValue": "acme"}) | {"status": {"code": code}}
    assert decode_json(json.dumps(document(raw)).encode()).spans[0].is_error


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        ({"traceId": TRACE_ID.hex()[:30]}, "trace_id of 15 bytes instead of 16"),
        ({"traceId": None}, "trace_id of 0 bytes instead of 16"),
        ({"spanId": "00" * 8}, "span_id all zero"),
        ({"spanId": "zz" * 8}, "an id that is not hexadecimal"),
        ({"traceId": "AQIDBAUGBwgJCgsMDQ4PEA=="}, "an id that is not hexadecimal"),
        ({"parentSpanId": "abc"}, "an id that is not hexadecimal"),
    ],
    ids=str,
)
def test_wrong_ids_reject_one_span_and_keep_the_others(ids: dict[str, Any], reason: str) -> None:
    body = document(span(), tenant({"stringValue": "acme"}) | ids, tenant({"stringValue": "acme"}))
    decoded = decode_json(json.dumps(body).encode())
    assert decoded.rejection == f"1 span rejected: {reason}"
    assert (len(decoded.spans), len(decoded.links), decoded.span_count, decoded.rejected) == (1, 32, 3, 1)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ([], "Expected `object`, got `array`"),
        (5, "Expected `object`"),
        ({"resourceSpans": {}}, "$.resourceSpans"),
        (document(span(traceId=5)), "$.resourceSpans[0].scopeSpans[0].spans[0].traceId"),
        (document(span(startTimeUnixNano=SECRET)), "spans[0].startTimeUnixNano"),
        (document(span(startTimeUnixNano=-1)), "spans[0].startTimeUnixNano"),
        (document(span(attributes={})), "spans[0].attributes"),
        (document(tenant(SECRET)), "attributes[0].value"),
        (document(tenant({"stringValue": 5})), "value.stringValue"),
        (document(tenant({"intValue": SECRET})), "value.intValue"),
        (document(tenant({"bytesValue": SECRET})), "value.bytesValue"),
        (document(tenant({"arrayValue": {"values": [None]}})), "arrayValue.values[0]"),
        (document(span(flags=SECRET)), "spans[0].flags"),
    ],
    ids=itertools.count(),
)
def test_wrong_types_are_named_by_path_without_contents(body: Any, path: str) -> None:
    with pytest.raises(MalformedError) as caught:
        decode_json(json.dumps(body).encode())
    assert path in caught.value.message
    assert SECRET not in caught.value.message


def test_text_cut_inside_a_character_does_not_refuse_the_request() -> None:
    raw = json.dumps(document(tenant({"stringValue": "acme"}) | {"name": "NAME"})).encode()
    for name, expected in ((b"\\ud83d", "�"), (b"\\ud83d\\ude00", "😀"), (b"\\\\ud83d", "\\ud83d"), (b"a\xff", "a�")):
        [decoded] = decode_json(raw.replace(b"NAME", name)).spans
        assert decoded.name == expected


@pytest.mark.parametrize(
    "body",
    [
        b'{"x":' + b"[" * 1_000_000,
        b'{"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        json.dumps(document(tenant("VALUE"))).encode().replace(b'"VALUE"', b'{"arrayValue":{"values":[' * 100_000),
        b'{"resourceSpans":' + b"9" * 100_000 + b"}",
    ],
    ids=["open", "closed", "values", "digits"],
)
def test_depth_and_length_are_malformed_not_fatal(body: bytes) -> None:
    with pytest.raises(MalformedError, match="not an OTLP JSON body"):
        decode_json(body)


def test_depth_up_to_some_hundreds_works_or_is_malformed() -> None:
    for depth in (10, 100, 300, 1_000, 3_000):
        value = b'{"arrayValue":{"values":[' * depth + b"]}}" * depth
        body = json.dumps(document(tenant("VALUE"))).encode().replace(b'"VALUE"', value)
        try:
            decoded = decode_json(body)
        except MalformedError as error:
            assert depth > 100
            assert "nested too deep" in error.message
        else:
            assert len(decoded.spans) == 1


def sample_body() -> bytes:
    return json.dumps(document(span(), tenant({"stringValue": "größe"}), tenant({"intValue": "12"}))).encode()


def test_a_body_cut_anywhere_is_malformed() -> None:
    body = sample_body()
    for end in range(len(body)):
        with pytest.raises(MalformedError, match="not an OTLP JSON body"):
            decode_json(body[:end])
        assert is_incomplete(body[:end])
    assert not is_incomplete(body)


@pytest.mark.parametrize("body", [b"{}", b'{"a":\xff}', b"{]", b'{"name":"\\ud83d"}', b"[" * 1_000_000, b"5"])
def test_what_is_not_incomplete(body: bytes) -> None:
    assert not is_incomplete(body)


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_random_bytes_are_malformed(body: bytes) -> None:
    try:
        decode_json(body)
    except MalformedError as error:
        assert error.message.startswith("not an OTLP JSON body")


@settings(deadline=None)
@given(st.data())
def test_a_body_changed_anywhere_is_malformed_or_another(data: st.DataObject) -> None:
    body = bytearray(sample_body())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_json(bytes(body))
    except MalformedError:
        return
    assert len(decoded.spans) + len(decoded.links) // 32 + decoded.rejected == decoded.span_count
