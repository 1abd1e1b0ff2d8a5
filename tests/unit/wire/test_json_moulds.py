"""Spans in JSON that a mould fits come to what they come to without moulds, however they are written."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from spanmeter.errors import MalformedError
from spanmeter.usage.recognition import Recogniser
from spanmeter.usage.span import LAST_NS, AttributeValue
from spanmeter.wire import json as otlp_json
from spanmeter.wire import json_moulds, protobuf
from spanmeter.wire.json import JsonSpans
from spanmeter.wire.json_messages import WrittenSpan
from spanmeter.wire.moulds import MOST_ALIKE
from tests.unit.usage.test_forms import recogniser
from tests.unit.wire.bodies import to_json
from tests.unit.wire.test_moulds import ATTRIBUTES, FITTING, NEVER, ODD, body_of, own_values, span_of, usual

Document = dict[str, Any]
READ = {key: value for key, value in ATTRIBUTES.items() if key not in ("http.url", "gen_ai.request.temperature")}


def document_of(*spans: SpanMessage) -> Document:
    message = ExportTraceServiceRequest.FromString(body_of(*spans))
    document: Document = json.loads(to_json(message))
    return document


def spans_in(document: Document) -> list[Document]:
    found: list[Document] = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    return found


def attribute_in(document: Document, key: str) -> Document:
    [found] = [one for one in spans_in(document)[0]["attributes"] if one["key"] == key]
    value: Document = found["value"]
    return value


def written(document: Document, *, is_compact: bool = False) -> bytes:
    return json.dumps(document, separators=(",", ":") if is_compact else None, ensure_ascii=False).encode()


def taken(recogniser: Recogniser, body: bytes) -> object:
    """Facts, links and what was rejected; or what is wrong with the body."""
    try:
        request = otlp_json.decode_json(body, recogniser.vocabulary())
        facts, links = recogniser.pack(request.spans, request.encoded, request.written, received_ns=1)
    except MalformedError as error:
        return error.message
    links += request.links
    return (
        sorted(facts, key=repr),
        sorted(links[at : at + 32] for at in range(0, len(links), 32)),
        request.rejection,
        request.span_count,
    )


def parsed(recogniser: Recogniser, body: bytes) -> int:
    """How many spans no mould fitted."""
    count = 0
    decoded = JsonSpans.decoded

    def counted(self: JsonSpans, raw: WrittenSpan) -> object:
        nonlocal count
        count += 1
        return decoded(self, raw)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JsonSpans, "decoded", counted)
        taken(recogniser, body)
    return count


@pytest.fixture(scope="module", autouse=True)
def _no_moulds_but_those_asked_for() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_moulds, "WORTH_SPANS", NEVER)
        yield


def warmed(attributes: dict[str, AttributeValue]) -> Recogniser:
    """With moulds for such spans, with and without parents, with spaces and without."""
    made = recogniser()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_moulds, "WORTH_SPANS", 1)
        for number in range(2):
            for parent in (True, False):
                document = document_of(span_of(number, attributes, parent=parent))
                for is_compact in (True, False):
                    taken(made, written(document, is_compact=is_compact))
    return made


@pytest.fixture(scope="module")
def moulded() -> Recogniser:
    return warmed(ATTRIBUTES)


@pytest.fixture(scope="module")
def moulded_read() -> Recogniser:
    return warmed(READ)


@pytest.fixture(scope="module")
def unmoulded() -> Recogniser:
    return recogniser()


def assert_same(moulded: Recogniser, unmoulded: Recogniser, body: bytes, *, fits: bool | None = None) -> None:
    assert taken(moulded, body) == taken(unmoulded, body)
    if fits is not None:
        assert parsed(moulded, body) == (0 if fits else 1)


@pytest.mark.parametrize("is_compact", [True, False])
@pytest.mark.parametrize("parent", [True, False])
def test_a_span_fits_and_comes_to_what_it_does_in_protobuf(moulded: Recogniser, is_compact: bool, parent: bool) -> None:
    span = span_of(7, ATTRIBUTES, parent=parent)
    body = written(document_of(span), is_compact=is_compact)
    assert parsed(moulded, body) == 0
    request = protobuf.decode_protobuf(body_of(span), moulded.vocabulary())
    facts, links = recogniser().pack(request.spans, request.encoded, received_ns=1)
    assert taken(moulded, body) == ([*facts], [], "", 1)
    assert links == b""


ESCAPED = ('"', '"a"', 'JJ!"J#')


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in FITTING.items() for value in values])
def test_a_value_of_its_own(moulded: Recogniser, unmoulded: Recogniser, key: str, value: AttributeValue) -> None:
    fits = value not in ESCAPED and not isinstance(value, tuple) and len(str(value)) < json_moulds.MOST_BYTES
    assert_same(moulded, unmoulded, written(document_of(usual(20, **{key: value}))), fits=fits)


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in ODD.items() for value in values])
def test_a_value_that_is_odd(moulded: Recogniser, unmoulded: Recogniser, key: str, value: AttributeValue) -> None:
    assert_same(moulded, unmoulded, written(document_of(usual(20, **{key: value}))))


@pytest.mark.parametrize("value", ["Straße", "a b", "", "x" * 300, 7, None])
@pytest.mark.parametrize("key", ["gen_ai.response.id", "gen_ai.request.model", "gen_ai.operation.name"])
def test_a_value_that_must_be_looked_at(
    moulded: Recogniser, unmoulded: Recogniser, key: str, value: AttributeValue
) -> None:
    assert_same(moulded, unmoulded, written(document_of(usual(20, **{key: value}))), fits=False)


@pytest.mark.parametrize(
    "number",
    ["-1", "+5", " 5", "5 ", "05", "007", "5.0", "1e3", "0x5", "", "9999999", "10000000", "9" * 40, 5, 5.0, -1],
    ids=repr,
)
@pytest.mark.parametrize("place", ["start", "input", "output"])
def test_a_number_however_it_is_written(
    moulded: Recogniser, unmoulded: Recogniser, place: str, number: float | str
) -> None:
    document = document_of(usual(20))
    if place == "start":
        spans_in(document)[0]["startTimeUnixNano"] = number
    else:
        attribute_in(document, f"gen_ai.usage.{place}_tokens")["intValue"] = number
    assert_same(moulded, unmoulded, written(document))


@pytest.mark.parametrize("end_ns", [0, 1, LAST_NS, LAST_NS + 1, 2**64 - 1, 2**64, 10**19 - 1, 10**19])
@pytest.mark.parametrize("start_ns", [0, 5, LAST_NS, LAST_NS + 1])
def test_times(moulded: Recogniser, unmoulded: Recogniser, start_ns: int, end_ns: int) -> None:
    document = document_of(usual(20))
    spans_in(document)[0] |= {"startTimeUnixNano": str(start_ns), "endTimeUnixNano": str(end_ns)}
    assert_same(moulded, unmoulded, written(document))


@pytest.mark.parametrize("name", ["traceId", "spanId", "parentSpanId"])
@pytest.mark.parametrize("text", ["", "0" * 16, "0" * 32, "A" * 16, "aB" * 16, "zz" * 8, "a" * 15, "é" * 16, None, 5])
def test_ids(moulded: Recogniser, unmoulded: Recogniser, name: str, text: str | int | None) -> None:
    document = document_of(usual(20))
    spans_in(document)[0][name] = text
    assert_same(moulded, unmoulded, written(document))


@pytest.mark.parametrize("flags", [0, 1, 0x101, 0x301, None])
@pytest.mark.parametrize("status", [{}, {"code": 1}, {"code": 2}, {"code": 2, "message": "x"}, None])
def test_flags_and_status(moulded: Recogniser, unmoulded: Recogniser, flags: int | None, status: Any) -> None:
    document = document_of(usual(20))
    spans_in(document)[0] |= {"flags": flags, "status": status}
    assert_same(moulded, unmoulded, written(document))


@pytest.mark.parametrize("key", [*ATTRIBUTES, "session.id", "other"])
@pytest.mark.parametrize("value", ["umbrella", 7])
def test_a_key_that_comes_again(moulded: Recogniser, unmoulded: Recogniser, key: str, value: AttributeValue) -> None:
    for before, after in (({key: value}, ATTRIBUTES), (ATTRIBUTES, {key: value})):
        span = span_of(20, dict(before))
        span.attributes.extend(span_of(1, dict(after)).attributes)
        assert_same(moulded, unmoulded, written(document_of(span)), fits=False)


@pytest.mark.parametrize("name", ["traceId", "spanId", "startTimeUnixNano", "attributes", "name", "flags", "future"])
def test_a_member_that_comes_again(moulded: Recogniser, unmoulded: Recogniser, name: str) -> None:
    document = document_of(usual(20))
    text = json.dumps(spans_in(document)[0])
    again = json.dumps({name: spans_in(document_of(usual(21)))[0].get(name, 5)})[1:-1]
    for twice in (f"{{{again}, {text[1:]}", f"{text[:-1]}, {again}}}"):
        body = written(document).replace(text.encode(), twice.encode())
        assert_same(moulded, unmoulded, body)


@pytest.mark.parametrize("twice", ["key", "value", "stringValue"])
def test_a_part_of_an_attribute_that_comes_again(moulded: Recogniser, unmoulded: Recogniser, twice: str) -> None:
    for key in ("tenant.id", "gen_ai.response.id", "http.url", "gen_ai.request.model"):
        text = json.dumps({"key": key, "value": {"stringValue": ATTRIBUTES[key]}})
        other: Any = {"stringValue": "other"} if twice == "value" else "other"
        again = f'"{twice}": {json.dumps(other)}, '
        at = text.index(f'"{twice}"')
        for doubled in (text[:at] + again + text[at:], text.replace("}", f", {again[:-2]}}}", 1)):
            body = written(document_of(usual(20))).replace(text.encode(), doubled.encode())
            assert doubled.encode() in body
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(json_moulds, "WORTH_SPANS", 1)
                made = recogniser()
                assert taken(made, body) == taken(made, body) == taken(unmoulded, body)
            assert_same(moulded, unmoulded, body)


@pytest.mark.parametrize("text", ["\\u0061cme", "a\\\\b", "a\\/b", "\\ud83d", "\\ud83d\\ude00", "a\\n"])
@pytest.mark.parametrize("key", ["tenant.id", "gen_ai.response.id", "http.url", "gen_ai.request.model"])
def test_escapes(moulded: Recogniser, unmoulded: Recogniser, key: str, text: str) -> None:
    body = written(document_of(usual(20, **{key: "ESCAPED"}))).replace(b"ESCAPED", text.encode())
    assert_same(moulded, unmoulded, body)


def test_text_that_is_not_utf_8(moulded: Recogniser, unmoulded: Recogniser) -> None:
    for key in ("tenant.id", "http.url", "gen_ai.request.model"):
        body = written(document_of(usual(20, **{key: "BROKEN"}))).replace(b"BROKEN", b"a\xffb\xc3")
        assert_same(moulded, unmoulded, body, fits=key != "gen_ai.request.model")


DEEP: AttributeValue = ("a", {"b": ({"c": "]}"}, '\\"'), "d": None})


def test_what_nobody_reads_is_passed_over_as_deep_as_it_was_before(unmoulded: Recogniser) -> None:
    made = warmed({**ATTRIBUTES, "other": DEEP})
    for value in (DEEP, "]", "}{", '"\\', 5, ("a",), {"x": 1}, {}, (), b"\xff"):
        assert_same(made, unmoulded, written(document_of(usual(20, other=value))), fits=True)
    assert_same(made, unmoulded, written(document_of(usual(20, other=(DEEP,)))), fits=False)


@pytest.mark.parametrize("ending", ["", '"', "\\", '\\"', '\\\\"', '"}}, {"', '"' * 9, "\\" * 9, "\n"], ids=repr)
def test_texts_that_nobody_reads_end_where_they_do(moulded: Recogniser, unmoulded: Recogniser, ending: str) -> None:
    for text in (ending, "x" * 500 + ending, ending + "x"):
        assert_same(moulded, unmoulded, written(document_of(usual(20, **{"http.url": text}))), fits=True)


def test_long_texts_are_decoded(moulded: Recogniser, unmoulded: Recogniser) -> None:
    long = usual(20, **{"http.url": "x" * json_moulds.MOST_BYTES})
    beside = [usual(number) for number in range(9)]
    assert_same(moulded, unmoulded, written(document_of(long)))
    assert_same(moulded, unmoulded, written(document_of(long, *beside)), fits=False)


@settings(max_examples=1_500, deadline=None)
@given(st.randoms(use_true_random=False), st.booleans(), st.booleans())
def test_bytes_that_are_wrong(
    moulded_read: Recogniser, unmoulded: Recogniser, dice: random.Random, parent: bool, is_compact: bool
) -> None:
    changes = {key: dice.choice(values) for key, values in FITTING.items() if key in READ}
    raw = bytearray(written(document_of(span_of(20, {**READ, **changes}, parent=parent)), is_compact=is_compact))
    begins = raw.index(b'"spans"')
    for _ in range(dice.randrange(1, 4)):
        at = dice.randrange(begins, len(raw))
        match dice.randrange(4):
            case 0:
                raw[at] = dice.randrange(256)
            case 1:
                raw[at] = dice.choice(b'0123456789"\\{}[]:, \n')
            case 2:
                del raw[at]
            case 3:
                raw.insert(at, dice.choice(b'0123456789"\\{}[]:, \n'))
    assert_same(moulded_read, unmoulded, bytes(raw))


def shuffled(members: Document, dice: random.Random) -> Document:
    names = [*members]
    dice.shuffle(names)
    return {name: members[name] for name in names}


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False), st.lists(st.integers(0, 5), max_size=12))
def test_any_spans_in_one_request(unmoulded: Recogniser, dice: random.Random, kinds: list[int]) -> None:
    """Also while moulds are made, of spans whose members and attributes stand in any order."""
    made = []
    for number, kind in enumerate(kinds):
        changes: dict[str, AttributeValue] = {}
        for key, values in FITTING.items() if kind % 2 else ODD.items():
            if dice.random() < 0.3:
                changes[key] = dice.choice(values)
        made.append(span_of(number, {**ATTRIBUTES, **changes} if kind < 5 else {}, parent=kind > 1))
    document = document_of(*made)
    spans = document["resourceSpans"][0]["scopeSpans"][0].get("spans", [])
    if dice.random() < 0.5:
        order: Callable[[Document], Document] = lambda members: shuffled(members, dice)  # noqa: E731
        for span in spans:
            span["attributes"] = [order(one) for one in span.get("attributes", [])]
            dice.shuffle(span["attributes"])
        spans[:] = map(order, spans)
    body = written(document, is_compact=dice.random() < 0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_moulds, "WORTH_SPANS", dice.choice((1, 2, 3)))
        remembering = recogniser()
        expected = taken(unmoulded, body)
        for _ in range(3):
            assert taken(remembering, body) == expected


@pytest.mark.parametrize("key", ["tenant.id", "gen_ai.response.id", "gen_ai.usage.input_tokens", "http.url"])
def test_a_dimension_may_be_a_copy_of_what_is_a_spans_own(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setattr(json_moulds, "WORTH_SPANS", 1)
    remembering = Recogniser(tenant_attributes=["tenant.id"], dimensions={"copy": key})
    for number in range(60):
        own = own_values(number)
        request = otlp_json.decode_json(written(document_of(usual(number, **own))), remembering.vocabulary())
        [facts], _ = remembering.pack((), (), request.written, received_ns=1)
        assert facts.dimensions == (("copy", str(own[key])),)


def test_the_place_of_a_fault_is_that_in_the_whole_body(moulded: Recogniser) -> None:
    document = document_of(*map(usual, range(3)))
    spans_in(document)[2]["flags"] = "the prompt's text"
    assert taken(moulded, written(document)) == (
        "not an OTLP JSON body: Expected `int | null`, got `str` - at `$.resourceSpans[0].scopeSpans[0].spans[2].flags`"
    )


def test_what_is_made_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_moulds, "WORTH_SPANS", 1)
    monkeypatch.setattr(json_moulds, "MOST_MOULDS", 20)
    monkeypatch.setattr(json_moulds, "MOST_SEEN", 20)
    remembering = recogniser()
    for number in range(100):
        span = usual(number, **{"gen_ai.request.model": f"model-{number}"})
        taken(remembering, written(document_of(span)))
        span.name = f"chat {number}"
        taken(remembering, written(document_of(span)))
    [known] = remembering._remembered.written._known.values()
    assert isinstance(known, json_moulds.JsonMoulds)
    sizes = [len(alike) for alike in known._like.values()]
    assert max(sizes) == MOST_ALIKE
    assert MOST_ALIKE < sum(sizes) <= 20
    assert len(known._seen) <= 20


def test_more_tenants_than_are_remembered(unmoulded: Recogniser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_moulds, "MOST_TENANTS", 3)
    remembering = warmed(ATTRIBUTES)
    for number in (*range(9), *range(9)):
        body = written(document_of(usual(number, **{"tenant.id": f"tenant-{number}"})))
        assert_same(remembering, unmoulded, body, fits=True)
    [known] = remembering._remembered.written._known.values()
    assert isinstance(known, json_moulds.JsonMoulds)
    assert len(known._tenants) == 3


def test_after_a_while_all_are_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_moulds, "WORTH_SPANS", 1)
    monkeypatch.setattr(json_moulds, "MOST_MOULDS", 1)
    monkeypatch.setattr(json_moulds, "MOST_PARSED", 20)
    remembering = recogniser()
    for number in range(5):
        taken(remembering, written(document_of(usual(number))))
    assert parsed(remembering, written(document_of(usual(6)))) == 0
    other: dict[str, AttributeValue] = {"gen_ai.request.model": "gpt-4.1"}
    for number in range(40):
        taken(remembering, written(document_of(usual(number, **other))))
    assert parsed(remembering, written(document_of(usual(6, **other)))) == 0
