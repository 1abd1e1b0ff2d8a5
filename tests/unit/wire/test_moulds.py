"""Spans that a mould fits come to what they come to without moulds, whatever their bytes."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from spanmeter.errors import MalformedError
from spanmeter.usage.recognition import Recogniser
from spanmeter.usage.span import LAST_NS, AttributeValue
from spanmeter.wire import moulds
from spanmeter.wire.encoded import EncodedSpans
from spanmeter.wire.protobuf import decode_protobuf
from spanmeter.wire.roles import MOST_FIXED_BYTES
from spanmeter.wire.varint import Varints, read_varint, varint_at
from tests.unit.usage.test_forms import recogniser
from tests.unit.wire.bodies import add_span, field, varint

NEVER = 1_000_000_000
ATTRIBUTES: dict[str, AttributeValue] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.system": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.request.temperature": 0.2,
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.usage.input_tokens": 300,
    "gen_ai.usage.output_tokens": 20,
    "tenant.id": "acme",
    "http.url": "/v1",
}
# What a mould takes, in place of those above or besides.
FITTING: dict[str, tuple[AttributeValue, ...]] = {
    "gen_ai.response.id": ("a", "chatcmpl-" + "x" * 80, 'JJ!"J#', "chatcmpl-2"),
    "gen_ai.usage.input_tokens": (1, 127, 128, 16_383, 16_384, 2_097_151),
    "gen_ai.usage.output_tokens": (0, 1, 128, 16_384),
    "tenant.id": ("umbrella", "Straße 7", "x" * 90, "J", "a b", " a ", '"a"', '"'),
    "http.url": ("", "/v2", 5, "x" * 3_000, ("a", "b"), True),
}
# What none does.
ODD: dict[str, tuple[AttributeValue, ...]] = {
    "gen_ai.response.id": ("", "Straße", 5, "x" * 200, None, "a b", "\x00"),
    "gen_ai.usage.input_tokens": (-1, 2_097_152, 2**40, "7", 7.0, True, None, (7,)),
    "gen_ai.usage.output_tokens": ("many", -5),
    "tenant.id": ("", " ", "x" * 300, 7, ("a", "b"), ("a",), None, True, "\n", "a\x7f", "a\u200b"),
    "gen_ai.request.model": ("gpt-4o", "", "x" * 300),
    "gen_ai.system": ("anthropic", None),
}


def body_of(*spans: SpanMessage) -> bytes:
    message = ExportTraceServiceRequest()
    resource_spans = message.resource_spans.add()
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = "opentelemetry.instrumentation.openai_v2"
    scope_spans.spans.extend(spans)
    return message.SerializeToString()


def body_of_raw(*spans: bytes) -> bytes:
    """Of spans that need not be any: protobuf keeps what it cannot know where a message says it is bytes."""
    body = body_of()
    inner = body[body.index(b"\x12") :]  # scope_spans, of a length below 128
    scope = inner[2:]
    for span in spans:
        scope += field(2, span)
    return field(1, field(2, scope))


def span_of(number: int, attributes: dict[str, AttributeValue], *, parent: bool = True) -> SpanMessage:
    message = ExportTraceServiceRequest()
    spans = message.resource_spans.add().scope_spans.add().spans
    return add_span(
        spans,
        attributes,
        trace_id=b"t" * 8 + number.to_bytes(8, "big"),
        span_id=b"s" * 4 + number.to_bytes(4, "big"),
        parent_span_id=b"p" * 8 if parent else b"",
        name="chat gpt-4o-mini",
        kind=SpanMessage.SPAN_KIND_CLIENT,
        start_time_unix_nano=1_000 + number,
        end_time_unix_nano=2_000 + number,
        flags=0x101 if parent else 0,
    )


def usual(number: int, **changes: AttributeValue) -> SpanMessage:
    return span_of(number, {**ATTRIBUTES, "gen_ai.usage.input_tokens": 300 + number, **changes})


def own_values(number: int) -> dict[str, AttributeValue]:
    """Of attributes that a mould lets vary; those of different spans come together in many ways."""
    return {
        "tenant.id": f"tenant-{number % 3}",
        "gen_ai.response.id": f"chatcmpl-{number % 5}",
        "gen_ai.usage.input_tokens": 300 + number % 4,
        "http.url": f"/{number % 7}",
    }


@pytest.fixture(scope="module", autouse=True)
def _no_moulds_but_those_asked_for() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moulds, "WORTH_SPANS", NEVER)
        yield


@pytest.fixture(scope="module")
def moulded() -> Recogniser:
    return recogniser()


@pytest.fixture(scope="module")
def unmoulded() -> Recogniser:
    return recogniser()


def warmed(recogniser: Recogniser) -> Recogniser:
    """With moulds for `usual` spans, with and without parents: what is read anew makes a scope begin anew."""
    spans = usual(90), span_of(91, ATTRIBUTES, parent=False)
    if parsed(recogniser, body_of(*spans)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(moulds, "WORTH_SPANS", 1)
            for number in range(8):
                url = f"/{number}"
                taken(recogniser, body_of(usual(number, **{"http.url": url})))
                taken(recogniser, body_of(span_of(number, {**ATTRIBUTES, "http.url": url}, parent=False)))
        assert not parsed(recogniser, body_of(*spans))
    return recogniser


def taken(recogniser: Recogniser, body: bytes) -> object:
    """Facts, links and what was rejected; or what is wrong with the body."""
    try:
        request = decode_protobuf(body, recogniser.vocabulary())
        facts, links = recogniser.pack(request.spans, request.encoded, received_ns=1)
    except MalformedError as error:
        return error.message
    links += request.links
    return (
        sorted(facts, key=repr),
        sorted(links[at : at + 32] for at in range(0, len(links), 32)),
        request.rejection,
    )


@contextmanager
def counting(counts: list[int]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        rows = EncodedSpans.rows

        def counted(self: EncodedSpans, raw: list[bytes]) -> object:
            counts.append(len(raw))
            return rows(self, raw)

        patch.setattr(EncodedSpans, "rows", counted)
        yield


def parsed(recogniser: Recogniser, body: bytes) -> int:
    """How many spans no mould fitted."""
    counts: list[int] = []
    with counting(counts):
        taken(recogniser, body)
    return sum(counts)


def assert_same(moulded: Recogniser, unmoulded: Recogniser, body: bytes, *, fits: bool | None = None) -> None:
    assert taken(warmed(moulded), body) == taken(unmoulded, body)
    if fits is not None:
        assert parsed(warmed(moulded), body) == (0 if fits else 1)


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in FITTING.items() for value in values])
def test_a_value_of_its_own(moulded: Recogniser, unmoulded: Recogniser, key: str, value: AttributeValue) -> None:
    assert_same(moulded, unmoulded, body_of(usual(20, **{key: value})), fits=True)


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in ODD.items() for value in values])
def test_a_value_that_must_be_looked_at(
    moulded: Recogniser, unmoulded: Recogniser, key: str, value: AttributeValue
) -> None:
    assert_same(moulded, unmoulded, body_of(usual(20, **{key: value})), fits=False)


@pytest.mark.parametrize("key", ["tenant.id", "gen_ai.response.id", "gen_ai.usage.input_tokens", "http.url"])
def test_a_dimension_may_be_a_copy_of_what_is_a_spans_own(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setattr(moulds, "WORTH_SPANS", 1)
    remembering = Recogniser(tenant_attributes=["tenant.id"], dimensions={"copy": key})
    for number in range(60):
        own = own_values(number)
        request = decode_protobuf(body_of(usual(number, **own)), remembering.vocabulary())
        [facts], _ = remembering.pack(request.spans, request.encoded, received_ns=1)
        assert facts.dimensions == (("copy", str(own[key])),)


def test_no_tokens_at_all(moulded: Recogniser, unmoulded: Recogniser) -> None:
    nothing: dict[str, AttributeValue] = {"gen_ai.usage.input_tokens": 0, "gen_ai.usage.output_tokens": 0}
    assert_same(moulded, unmoulded, body_of(usual(20, **nothing)), fits=False)


@pytest.mark.parametrize("key", [*ATTRIBUTES, "session.id", "other"])
@pytest.mark.parametrize("value", ["umbrella", 7])
def test_a_key_that_comes_again(moulded: Recogniser, unmoulded: Recogniser, key: str, value: AttributeValue) -> None:
    again = usual(20)
    again.attributes.extend(span_of(1, {key: value}).attributes)
    assert_same(moulded, unmoulded, body_of(again), fits=False)
    first = span_of(20, {key: value})
    first.attributes.extend(usual(20).attributes)
    assert_same(moulded, unmoulded, body_of(first), fits=False)


@pytest.mark.parametrize(
    ("start_ns", "end_ns"),
    [(5, 5), (9, 4), (LAST_NS, LAST_NS), (LAST_NS + 1, 7), (7, LAST_NS + 1), (2**64 - 1, 2**64 - 1)],
)
def test_times(moulded: Recogniser, unmoulded: Recogniser, start_ns: int, end_ns: int) -> None:
    span = usual(20)
    span.start_time_unix_nano, span.end_time_unix_nano = start_ns, end_ns
    assert_same(moulded, unmoulded, body_of(span), fits=True)


def test_a_time_of_zero(moulded: Recogniser, unmoulded: Recogniser) -> None:
    written = usual(20).SerializeToString()
    for tag in (b"9", b"A"):
        at = written.index(tag + (1_020 if tag == b"9" else 2_020).to_bytes(8, "little"))
        assert_same(moulded, unmoulded, body_of_raw(written[:at] + tag + bytes(8) + written[at + 9 :]), fits=True)
        assert_same(moulded, unmoulded, body_of_raw(written[:at] + written[at + 9 :]), fits=False)


@pytest.mark.parametrize("name", ["trace_id", "span_id", "parent_span_id"])
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 15, 16, 17, 32])
@pytest.mark.parametrize("byte", [b"\0", b"i"])
def test_ids(moulded: Recogniser, unmoulded: Recogniser, name: str, size: int, byte: bytes) -> None:
    span = usual(20)
    setattr(span, name, byte * size)
    assert_same(moulded, unmoulded, body_of(span))


@pytest.mark.parametrize("flags", [0, 1, 0x100, 0x101, 0x301, 0x3FF])
@pytest.mark.parametrize("status", [0, 1, 2])
def test_flags_and_status(moulded: Recogniser, unmoulded: Recogniser, flags: int, status: int) -> None:
    span = usual(20)
    span.flags = flags
    span.status.code = status  # type: ignore[assignment]
    assert_same(moulded, unmoulded, body_of(span))


def fields_of(raw: bytes) -> list[bytes]:
    """By the generated classes' own order of fields."""
    fields = []
    at = 0
    while at < len(raw):
        found = varint_at(raw, at)
        assert found is not None
        tag, end = found
        length = varint_at(raw, end)
        assert length is not None
        end = {0: length[1], 1: end + 8, 2: length[0] + length[1], 5: end + 4}[tag & 7]
        fields.append(raw[at:end])
        at = end
    return fields


UNKNOWN = (b"\xa8\x06\x01", b"\xa2\x06\x01a", b"\xa1\x06" + bytes(8), b"\xa3\x06\xa4\x06", b"\x8a\x00\x10" + b"z" * 16)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_fields_in_any_order_left_out_or_repeated(
    moulded: Recogniser, unmoulded: Recogniser, data: st.DataObject
) -> None:
    fields = fields_of(usual(20).SerializeToString())
    dice = data.draw(st.randoms(use_true_random=False))
    for _ in range(data.draw(st.integers(1, 3))):
        at = dice.randrange(len(fields))
        match data.draw(st.integers(0, 3)):
            case 0:
                del fields[at]
            case 1:
                fields.insert(dice.randrange(len(fields) + 1), fields[at])
            case 2:
                fields.insert(dice.randrange(len(fields) + 1), dice.choice(UNKNOWN))
            case 3:
                fields.insert(dice.randrange(len(fields)), fields.pop(at))
    assert_same(moulded, unmoulded, body_of_raw(b"".join(fields)))


ODD_FIELDS = (
    UNKNOWN[0],
    b"\x8a\x80\x00\x10" + b"z" * 16,  # a trace id, by a tag that is longer than it need be
    b"\n\x10" + b"z" * 16,
    b"\x12\x08" + b"z" * 8,
    b'"\x08' + b"z" * 8,
    b"9" + bytes(8),
    b"A" + b"\x01" + bytes(7),
    b"A" + b"\x01" + bytes(7) + b"9" + bytes(8),
    b"*\x01x",
    b"\x1a\x03a=b",
    b"z\x02\x18\x02",
    b"\x85\x01\x00\x03\x00\x00",
    b"J\x00",
    b"J\x03\n\x01a",
    b"J\x0b\n\ttenant.id",
)


@pytest.mark.parametrize("odd", ODD_FIELDS)
@pytest.mark.parametrize("at", [0, 2, 5, 7, 99])
def test_a_mould_of_odd_fields_or_of_an_odd_order(
    unmoulded: Recogniser, monkeypatch: pytest.MonkeyPatch, odd: bytes, at: int
) -> None:
    monkeypatch.setattr(moulds, "WORTH_SPANS", 1)
    remembering = recogniser()
    for number in range(4):
        fields = fields_of(usual(number).SerializeToString())
        fields.insert(at, odd)
        body = body_of_raw(b"".join(fields[:3] + fields[-1:] + fields[3:-1]), b"".join(fields))
        expected = taken(unmoulded, body)
        assert taken(remembering, body) == taken(remembering, body) == expected


@pytest.mark.parametrize(("key", "value"), [("tenant.id", "new"), ("gen_ai.response.id", "new"), ("http.url", "/new")])
@pytest.mark.parametrize("parent", [True, False])
def test_a_length_that_is_wrong(moulded: Recogniser, unmoulded: Recogniser, key: str, value: str, parent: bool) -> None:
    attributes = {**ATTRIBUTES, key: f"{value}-{parent}"}
    raw = span_of(20, attributes, parent=parent).SerializeToString()
    head = b"\n" + bytes((len(key),)) + key.encode()
    begins = raw.index(head)
    for at in (begins - 1, begins + 1, begins + len(head) + 1, begins + len(head) + 3):
        for more in (-9, -2, -1, 1, 2, 8, 100):
            wrong = raw[:at] + bytes((max(0, raw[at] + more),)) + raw[at + 1 :]
            assert_same(moulded, unmoulded, body_of_raw(wrong))
    for size in range(1, 8):  # cut short
        assert_same(moulded, unmoulded, body_of_raw(raw[:-size]))


@settings(max_examples=1_500, deadline=None)
@given(st.randoms(use_true_random=False), st.booleans())
def test_bytes_that_are_wrong(moulded: Recogniser, unmoulded: Recogniser, dice: random.Random, parent: bool) -> None:
    changes = {key: dice.choice(values) for key, values in FITTING.items()}
    if len(str(changes["http.url"])) > 100:
        changes["http.url"] = "/v1"
    raw = bytearray(span_of(20, {**ATTRIBUTES, **changes}, parent=parent).SerializeToString())
    for _ in range(dice.randrange(1, 4)):
        at = dice.randrange(len(raw))
        match dice.randrange(4):
            case 0:
                raw[at] = dice.randrange(256)
            case 1:
                raw[at] = (raw[at] + dice.choice((-2, -1, 1, 2, 128))) % 256
            case 2:
                del raw[at]
            case 3:
                raw.insert(at, dice.choice((0, 1, 0x4A, 0x0A, 0x80, raw[at])))
    assert_same(moulded, unmoulded, body_of_raw(bytes(raw)))


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False))
def test_lengths_that_agree_with_each_other_and_with_nothing_else(
    moulded: Recogniser, unmoulded: Recogniser, dice: random.Random
) -> None:
    """A text that holds what would come behind it."""
    fields = fields_of(usual(20).SerializeToString())
    places = [at for at, field in enumerate(fields) if field[:1] == b"J"]
    at = dice.choice(places[5:-1])
    text = b"".join(fields[at + 1 : at + 1 + dice.randrange(1, 3)])
    key = dice.choice((b"tenant.id", b"gen_ai.response.id", b"http.url"))
    value = b"\n" + varint(len(text) + dice.randrange(-2, 3)) + text
    attribute = b"\n" + varint(len(key)) + key + b"\x12" + varint(len(value) + dice.randrange(-1, 2)) + value
    field = b"J" + varint(len(attribute) + dice.randrange(-1, 2)) + attribute
    fields[dice.choice(places)] = field
    assert_same(moulded, unmoulded, body_of_raw(b"".join(fields)))


@pytest.mark.parametrize("bytes_more", [1, 2, 3])
def test_numbers_longer_than_they_need_be(moulded: Recogniser, unmoulded: Recogniser, bytes_more: int) -> None:
    head = b"\n\x19gen_ai.usage.input_tokens\x12"
    fields = fields_of(usual(20).SerializeToString())
    at = next(at for at, field in enumerate(fields) if head in field)
    for width in (0, bytes_more):
        value = b"\x18" + varint(320, bytes_more=bytes_more)
        attribute = head + varint(len(value), bytes_more=width) + value
        fields[at] = b"J" + varint(len(attribute), bytes_more=width) + attribute
        assert_same(moulded, unmoulded, body_of_raw(b"".join(fields)))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=40), st.randoms(use_true_random=False))
def test_any_spans_in_one_request(
    moulded: Recogniser, unmoulded: Recogniser, kinds: list[int], dice: random.Random
) -> None:
    made = []
    for number, kind in enumerate(kinds):
        changes: dict[str, AttributeValue] = {}
        for key, values in FITTING.items() if kind % 2 else ODD.items():
            if dice.random() < 0.3:
                changes[key] = dice.choice(values)
        span = span_of(number, {**ATTRIBUTES, **changes}, parent=kind > 1)
        if kind == 5:
            del span.attributes[:]
        made.append(span)
    assert_same(moulded, unmoulded, body_of(*made))


def test_texts_that_differ_are_passed_over_once_they_were_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moulds, "WORTH_SPANS", 4)
    remembering = recogniser()
    fitted = []
    for number in range(40):
        texts: dict[str, AttributeValue] = {
            "http.url": f"/{number}",
            "gen_ai.input.messages": "x" * (number * 40 + 200),
            "seed": number,
        }
        fitted.append(parsed(remembering, body_of(usual(number, **texts))) == 0)
    assert all(fitted[20:])


def test_events_and_links_are_passed_over(unmoulded: Recogniser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moulds, "WORTH_SPANS", 1)
    remembering = recogniser()
    fitted = []
    for number in range(12):
        span = usual(number)
        for event in range(2):
            made = span.events.add(name="gen_ai.content.prompt", time_unix_nano=number + event)
            made.attributes.add(key="gen_ai.prompt").value.string_value = "tenant.id" * number * 40
        span.links.add(trace_id=number.to_bytes(16, "big"), span_id=b"l" * 8)
        fitted.append(parsed(remembering, body_of(span)) == 0)
        assert taken(remembering, body_of(span)) == taken(unmoulded, body_of(span))
        one_more = usual(number)
        one_more.CopyFrom(span)
        one_more.events.add(name="another")
        assert taken(remembering, body_of(one_more)) == taken(unmoulded, body_of(one_more))
        raw = span.SerializeToString()
        for at in range(raw.index(b"Z"), len(raw), 97):
            broken = body_of_raw(raw[:at] + bytes((raw[at] ^ 0x55,)) + raw[at + 1 :])
            assert taken(remembering, broken) == taken(unmoulded, broken)
    assert all(fitted[4:])


def test_what_is_fixed_and_long_makes_no_mould(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moulds, "WORTH_SPANS", 1)
    remembering = recogniser()
    for number in range(6):
        span = usual(number)
        span.trace_state = "a=" + "b" * MOST_FIXED_BYTES
        taken(remembering, body_of(span))
    assert parsed(remembering, body_of(span)) == 1


def test_layouts_of_one_name_are_told_apart_by_what_stands_behind_their_times(
    unmoulded: Recogniser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moulds, "WORTH_SPANS", 1)
    remembering = recogniser()

    def body(number: int) -> bytes:
        model: dict[str, AttributeValue] = {"gen_ai.request.model": f"model-{number % 30:02}"}
        return body_of(span_of(number, {**ATTRIBUTES, **model, "http.url": f"/{number}"}, parent=number % 4 > 0))

    for number in range(300):
        assert taken(remembering, body(number)) == taken(unmoulded, body(number))
    assert [parsed(remembering, body(number)) for number in range(300, 360)] == [0] * 60
    # One that has something of its own right there leaves nothing to tell the others apart by: there is no room for it.
    for number in range(20):
        first: dict[str, AttributeValue] = {"tenant.id": f"tenant-{number}"}
        assert parsed(remembering, body_of(span_of(number, first | ATTRIBUTES))) == 1
    assert [parsed(remembering, body(number)) for number in range(300, 360)] == [0] * 60


def test_what_is_made_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moulds, "WORTH_SPANS", 1)
    monkeypatch.setattr(moulds, "MOST_MOULDS", 10)
    remembering = recogniser()
    for number in range(100):
        span = usual(number, **{"gen_ai.request.model": f"model-{number % 30}"})
        taken(remembering, body_of(span))
        span.name = f"chat {number}"
        taken(remembering, body_of(span))
    [known] = remembering._remembered.scopes._known.values()
    assert isinstance(known.moulds, moulds.Moulds)
    by_name = known.moulds._by_name
    assert 1 < sum(len(alike.moulds) for alike in by_name.values()) <= 10


def test_more_tenants_than_are_remembered(unmoulded: Recogniser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moulds, "MOST_TENANTS", 3)
    remembering = warmed(recogniser())
    for number in (*range(9), *range(9)):
        body = body_of(
            usual(number, **{"tenant.id": f"tenant-{number}"}), usual(number, **{"tenant.id": f' "{number}"'})
        )
        assert taken(remembering, body) == taken(unmoulded, body)
        assert parsed(remembering, body) == 0
    [known] = remembering._remembered.scopes._known.values()
    assert isinstance(known.moulds, moulds.Moulds)
    assert len(known.moulds._tenants) == 3


def test_after_a_while_all_are_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moulds, "WORTH_SPANS", 1)
    monkeypatch.setattr(moulds, "MOST_MOULDS", 1)
    monkeypatch.setattr(moulds, "MOST_PARSED", 20)
    remembering = recogniser()
    for number in range(5):
        taken(remembering, body_of(usual(number)))
    assert parsed(remembering, body_of(usual(6))) == 0
    other = {"gen_ai.request.model": "gpt-4.1"}
    for number in range(40):
        taken(remembering, body_of(usual(number, **other)))
    assert parsed(remembering, body_of(usual(6, **other))) == 0


@given(st.integers(0, 2**64 - 1), st.binary(max_size=3), st.binary(max_size=3))
def test_varints(value: int, before: bytes, after: bytes) -> None:
    encoded = varint(value)
    assert read_varint(encoded) == Varints()[encoded] == value
    assert varint_at(before + encoded + after, len(before)) == (value, len(before) + len(encoded))
    assert varint_at(before + encoded[:-1], len(before)) is None or len(encoded) == 1
