import itertools
import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanmeter.errors import MalformedError
from spanmeter.usage.span import AttributeValue, Scope, Span, Vocabulary
from tests.unit.wire.bodies import PARENT_ID, SPAN_ID, TRACE_ID, VOCABULARY, add_span, decode_protobuf, request

LONG_KEY = max(VOCABULARY.keys, key=len)


def decode_value(value: AttributeValue, key: str = "tenant.id") -> AttributeValue:
    message, spans = request()
    add_span(spans, {key: value})
    [span] = decode_protobuf(message.SerializeToString(), VOCABULARY).spans
    return span.attributes[key]


def test_a_span_arrives_with_the_vocabulary_only() -> None:
    message, spans = request()
    add_span(
        spans,
        {
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.usage.input_tokens": 18,
            "gen_ai.prompt": "a secret",
            "server.port": 443,
        },
        parent_span_id=PARENT_ID,
        start_time_unix_nano=1_000,
        end_time_unix_nano=2_000,
        flags=0x101,
    )
    spans[0].status.code = 2

    decoded = decode_protobuf(message.SerializeToString(), VOCABULARY)

    assert decoded.spans == [
        Span(
            trace_id=TRACE_ID,
            span_id=SPAN_ID,
            parent_span_id=PARENT_ID,
            parent_is_remote=False,
            name="chat",
            start_ns=1_000,
            end_ns=2_000,
            is_error=True,
            attributes={"gen_ai.request.model": "gpt-4o-mini", "gen_ai.usage.input_tokens": 18},
            resource={"service.name": "agent"},
            scope=Scope(name="opentelemetry.instrumentation.openai_v2", version="2.4"),
        )
    ]
    assert (decoded.links, decoded.span_count, decoded.rejected, decoded.rejection) == (b"", 1, 0, "")


def test_an_empty_body_is_an_empty_request() -> None:
    decoded = decode_protobuf(b"", VOCABULARY)
    assert (list(decoded.spans), decoded.links, decoded.span_count) == ([], b"", 0)


@pytest.mark.parametrize(
    ("flags", "is_remote"), [(0, None), (0x200, None), (0x100, False), (0x300, True), (0xFFFFFFFF, True)]
)
def test_whether_the_parent_is_remote(flags: int, is_remote: bool | None) -> None:
    message, spans = request()
    add_span(spans, {"tenant.id": "acme"}, flags=flags)
    assert decode_protobuf(message.SerializeToString(), VOCABULARY).spans[0].parent_is_remote is is_remote


@pytest.mark.parametrize(("code", "text", "is_error"), [(0, "", False), (1, "", False), (2, "", True), (2, "x", True)])
def test_error_status(code: int, text: str, is_error: bool) -> None:
    message, spans = request()
    span = add_span(spans, {"tenant.id": "acme"})
    span.status.code = code  # type: ignore[assignment]
    span.status.message = text
    assert decode_protobuf(message.SerializeToString(), VOCABULARY).spans[0].is_error is is_error


@pytest.mark.parametrize(
    "value",
    [
        "",
        "acme",
        "x" * 123,
        "x" * 124,
        "x" * 125,
        "x" * 126,
        "x" * 128,
        "x" * 255,
        "x" * 256,
        "x" * 70_000,
        "größe ✓",
        0,
        1,
        127,
        128,
        16_383,
        16_384,
        2_097_151,
        2_097_152,
        2**63 - 1,
        -1,
        -(2**63),
        True,
        False,
        0.0,
        -1.5,
        math.inf,
        b"",
        b"\x00\xff",
        None,
        (),
        ("a", 1, None, (True, ())),
        {},
        {"a": 1, "b": {"c": (1.5, b"x")}, "": None},
    ],
    ids=itertools.count(),
)
@pytest.mark.parametrize("key", ["tenant.id", LONG_KEY], ids=["key", "long-key"])
def test_values_keep_their_type(key: str, value: AttributeValue) -> None:
    found = decode_value(value, key)
    assert found == value
    assert type(found) is type(value)


def test_text_that_is_not_utf8_is_kept_readable() -> None:
    message, spans = request()
    add_span(spans, {"tenant.id": "acmeX"}, name="chatX")
    body = message.SerializeToString().replace(b"acmeX", b"acme\xff").replace(b"chatX", b"chat\xff")
    [span] = decode_protobuf(body, VOCABULARY).spans
    assert (span.attributes["tenant.id"], span.name) == ("acme�", "chat�")


def test_of_equal_keys_the_last_wins() -> None:
    message, spans = request()
    span = add_span(spans, {"tenant.id": "first"})
    span.attributes.add(key="tenant.id").value.string_value = "last"
    assert decode_protobuf(message.SerializeToString(), VOCABULARY).spans[0].attributes == {"tenant.id": "last"}


def test_a_key_written_after_its_value_is_found() -> None:
    message, spans = request()
    add_span(spans, {"tenant.id": "acme"})
    body = message.SerializeToString()
    key, value = b"\x0a\x09tenant.id", b"\x12\x06\x0a\x04acme"
    assert key + value in body
    assert decode_protobuf(body.replace(key + value, value + key), VOCABULARY).spans[0].attributes == {
        "tenant.id": "acme"
    }


def test_a_length_written_with_more_bytes_than_it_needs_is_read() -> None:
    key_value = b"\x0a\x89\x80\x00tenant.id\x12\x86\x80\x00\x0a\x04acme"
    span = b"\x0a\x10" + TRACE_ID + b"\x12\x08" + SPAN_ID + b"\x4a" + bytes([len(key_value)]) + key_value
    scope_spans = b"\x12" + bytes([len(span)]) + span
    resource_spans = b"\x12" + bytes([len(scope_spans)]) + scope_spans
    [decoded] = decode_protobuf(b"\x0a" + bytes([len(resource_spans)]) + resource_spans, VOCABULARY).spans
    assert decoded.attributes == {"tenant.id": "acme"}


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"http.method": "GET"},
        {"gen_ai.other": 1},
        {"note": "gen_ai.request.model tenant.id"},
        {"service.name": "x"},
    ],
    ids=str,
)
@pytest.mark.parametrize("trace_state", ["", "a=b", "a=" + "b" * 200])
@pytest.mark.parametrize("parent_id", [b"", PARENT_ID, bytes(8)], ids=["root", "child", "zero-parent"])
@pytest.mark.parametrize("name", ["GET /", 'a"\x08b', ""])
def test_other_spans_become_links(
    attributes: dict[str, AttributeValue], trace_state: str, parent_id: bytes, name: str
) -> None:
    message, spans = request()
    add_span(spans, attributes, trace_state=trace_state, parent_span_id=parent_id, name=name)
    decoded = decode_protobuf(message.SerializeToString(), VOCABULARY)
    assert decoded.links == TRACE_ID + SPAN_ID + (parent_id or bytes(8))
    assert (list(decoded.spans), decoded.span_count, decoded.rejected) == ([], 1, 0)


def test_many_links_of_every_kind() -> None:
    rng = random.Random(7)
    message, spans = request()
    expected = set()
    for number in range(300):
        ids = rng.randbytes(16), rng.randbytes(8), rng.choice([b"", rng.randbytes(8), bytes(8)])
        if number % 7 == 0:  # 64-bit trace ids, padded
            ids = bytes(8) + ids[0][8:], ids[1], ids[2]
        state = rng.choice(["", "", "k=v"])
        add_span(
            spans, {"http.method": "GET"}, trace_id=ids[0], span_id=ids[1], parent_span_id=ids[2], trace_state=state
        )
        expected.add(ids[0] + ids[1] + (ids[2] or bytes(8)))
    links = decode_protobuf(message.SerializeToString(), VOCABULARY).links
    assert {links[at : at + 32] for at in range(0, len(links), 32)} == expected
    assert len(links) == 300 * 32


def test_plain_children_are_cut_out_in_order() -> None:
    message, spans = request()
    rng = random.Random(7)  # not any: one in a hundred such requests has ids in which a key might begin
    ids = [(rng.randbytes(16), rng.randbytes(8), rng.randbytes(8)) for _ in range(50)]
    for trace_id, span_id, parent_id in ids:
        add_span(spans, {}, trace_id=trace_id, span_id=span_id, parent_span_id=parent_id)
    assert decode_protobuf(message.SerializeToString(), VOCABULARY).links == b"".join(map(b"".join, ids))


def test_ids_in_another_order_are_found() -> None:
    span = b"\x22\x08" + PARENT_ID + b"\x12\x08" + SPAN_ID + b"\x0a\x10" + TRACE_ID
    late_parent = b"\x0a\x10" + TRACE_ID + b"\x12\x08" + SPAN_ID + b"\x2a\x01x" + b"\x22\x08" + PARENT_ID
    for raw in (span, late_parent):
        scope_spans = b"\x12" + bytes([len(raw)]) + raw
        resource_spans = b"\x12" + bytes([len(scope_spans)]) + scope_spans
        body = b"\x0a" + bytes([len(resource_spans)]) + resource_spans
        assert decode_protobuf(body, VOCABULARY).links == TRACE_ID + SPAN_ID + PARENT_ID


@pytest.mark.parametrize("attributes", [{}, {"tenant.id": "acme"}], ids=["passed-over", "of-interest"])
@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        ({"trace_id": TRACE_ID[:15]}, "trace_id of 15 bytes instead of 16"),
        ({"trace_id": b""}, "trace_id of 0 bytes instead of 16"),
        ({"trace_id": bytes(16)}, "trace_id all zero"),
        ({"span_id": SPAN_ID + b"x"}, "span_id of 9 bytes instead of 8"),
        ({"span_id": bytes(8)}, "span_id all zero"),
        ({"parent_span_id": PARENT_ID[:7]}, "parent_span_id of 7 bytes instead of 8"),
    ],
    ids=str,
)
def test_wrong_ids_reject_one_span_and_keep_the_others(
    attributes: dict[str, AttributeValue], ids: dict[str, Any], reason: str
) -> None:
    message, spans = request()
    add_span(spans, {"tenant.id": "acme"})
    add_span(spans, attributes, **({"parent_span_id": PARENT_ID} | ids))
    add_span(spans, {}, parent_span_id=PARENT_ID)
    decoded = decode_protobuf(message.SerializeToString(), VOCABULARY)
    assert decoded.rejection == f"1 span rejected: {reason}"
    assert (len(decoded.spans), len(decoded.links), decoded.span_count, decoded.rejected) == (1, 32, 3, 1)


def test_a_time_beyond_every_clock_counts_as_none() -> None:
    message, spans = request()
    add_span(spans, {"tenant.id": "acme"}, start_time_unix_nano=5, end_time_unix_nano=2**64 - 1)
    [span] = decode_protobuf(message.SerializeToString(), VOCABULARY).spans
    assert (span.start_ns, span.end_ns) == (5, 0)


def test_a_vocabulary_without_markers_finds_nothing_of_interest() -> None:
    message, spans = request()
    add_span(spans, {"tenant.id": "acme"})
    decoded = decode_protobuf(message.SerializeToString(), Vocabulary(keys=frozenset({"tenant.id"}), markers=()))
    assert (list(decoded.spans), len(decoded.links)) == ([], 32)


def sample_body() -> bytes:
    message, spans = request()
    options: AttributeValue = {"a": (1, "b")}
    add_span(spans, {"gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 300, "llm.options": options})
    add_span(spans, {"http.method": "GET"}, parent_span_id=PARENT_ID, trace_state="a=b")
    return message.SerializeToString()


def test_a_body_cut_anywhere_is_malformed_or_shorter() -> None:
    body = sample_body()
    whole = decode_protobuf(body, VOCABULARY)
    for end in range(len(body)):
        try:
            decoded = decode_protobuf(body[:end], VOCABULARY)
        except MalformedError as error:
            assert "not an OTLP protobuf body: byte " in error.message
        else:
            assert decoded.span_count < whole.span_count


@settings(deadline=None)
@given(st.data())
def test_a_body_changed_anywhere_is_malformed_or_another(data: st.DataObject) -> None:
    body = bytearray(sample_body())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_protobuf(bytes(body), VOCABULARY)
    except MalformedError as error:
        assert error.message.startswith("not an OTLP protobuf body: ")
    else:
        assert len(decoded.spans) + len(decoded.links) // 32 + decoded.rejected == decoded.span_count


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_malformed_or_nothing_much(body: bytes) -> None:
    try:
        decode_protobuf(body, VOCABULARY)
    except MalformedError as error:
        assert error.message.startswith("not an OTLP protobuf body: ")


def test_the_fault_is_named_at_its_byte() -> None:
    body = sample_body()
    at = body.index(b"\x0a\x14gen_ai.request.model")
    broken = body[: at + 1] + b"\x7f" + body[at + 2 :]
    with pytest.raises(MalformedError, match=f"byte {at}: field 1 needs 127 bytes, 25 are left"):
        decode_protobuf(broken, VOCABULARY)


def test_values_nested_beyond_reason_are_malformed() -> None:
    value: AttributeValue = ()
    for _ in range(60):
        value = (value,)
    message, spans = request()
    add_span(spans, {"llm.options": value})
    with pytest.raises(MalformedError, match="nested too deep"):
        decode_protobuf(message.SerializeToString(), VOCABULARY)


@pytest.mark.parametrize("odd", range(30))
def test_a_span_of_no_interest_among_many_that_are_becomes_a_link(odd: int) -> None:
    message, spans = request()
    for number in range(30):
        attributes = {"http.route": "/"} if number == odd else {"gen_ai.request.model": "m"}
        add_span(spans, attributes, span_id=(number + 1).to_bytes(8, "big"), parent_span_id=PARENT_ID)
    decoded = decode_protobuf(message.SerializeToString())
    assert len(decoded.spans) == 29
    assert decoded.links == TRACE_ID + (odd + 1).to_bytes(8, "big") + PARENT_ID


def test_a_resource_that_comes_again_is_one_object_and_another_is_not() -> None:
    resources = []
    for name in ("one", "other", "one", "x" * 5_000, "x" * 5_000):
        message, spans = request()
        message.resource_spans[0].resource.attributes[0].value.string_value = name
        add_span(spans, {"gen_ai.request.model": "m"})
        resources.append(decode_protobuf(message.SerializeToString()).spans[0].resource)
    assert [resource["service.name"] for resource in resources] == ["one", "other", "one", "x" * 5_000, "x" * 5_000]
    assert resources[0] is resources[2]
    assert resources[3] is not resources[4]
