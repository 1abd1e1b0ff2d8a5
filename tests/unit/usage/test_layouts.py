"""Encoded spans come to the same facts as decoded ones, for whatever comes after whatever."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from spanmeter.binding import MOST_CHARACTERS
from spanmeter.errors import MalformedError
from spanmeter.usage.call import SpanFacts
from spanmeter.usage.facts import FactsMaker
from spanmeter.usage.layouts import MOST_LAYOUTS, MOST_SCOPES
from spanmeter.usage.named import find_tenant, tenant_of
from spanmeter.usage.recognition import Recogniser
from spanmeter.usage.span import AttributeValue, Span
from spanmeter.wire import moulds
from spanmeter.wire.protobuf import decode_protobuf
from tests.corpus.cases import Case, all_cases
from tests.unit.usage.test_forms import SPAN, recogniser, sequences
from tests.unit.wire.bodies import add_span, set_attributes

PROTOBUF = "application/x-protobuf"
CASES = list(all_cases())
MOULDS_AFTER = (1, moulds.WORTH_SPANS)
TENANT_VALUES: tuple[AttributeValue, ...] = ("acme", "umbrella", "", None, 7, ("a", "b"), ("a",), True, "x" * 200)


@pytest.fixture(scope="module", autouse=True, params=MOULDS_AFTER, ids=("moulds", "layouts alone"))
def _with_and_without_moulds(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moulds, "WORTH_SPANS", request.param)
        yield


def facts_and_links(recogniser: Recogniser, body: bytes, *, is_decoded: bool) -> tuple[list[SpanFacts], list[bytes]]:
    request = decode_protobuf(body, recogniser.vocabulary())
    if is_decoded:
        request = request.decoded()
    facts, links = recogniser.pack(request.spans, request.encoded, received_ns=1)
    links += request.links
    return sorted(facts, key=lambda one: one.span_id), sorted(links[at : at + 32] for at in range(0, len(links), 32))


def assert_same(remembering: Recogniser, plain: Recogniser, body: bytes) -> None:
    assert facts_and_links(remembering, body, is_decoded=False) == facts_and_links(plain, body, is_decoded=True)


def encoded(spans: Sequence[Span]) -> bytes:
    """One request; each span with a scope and a resource of its own."""
    message = ExportTraceServiceRequest()
    for number, span in enumerate(spans):
        resource_spans = message.resource_spans.add()
        set_attributes(resource_spans.resource.attributes, span.resource)
        scope_spans = resource_spans.scope_spans.add()
        scope_spans.scope.name, scope_spans.scope.version = span.scope.name, span.scope.version
        made = add_span(
            scope_spans.spans,
            span.attributes,
            trace_id=span.trace_id,
            span_id=(number + 1).to_bytes(8, "big"),
            parent_span_id=span.parent_span_id,
            name=span.name,
            start_time_unix_nano=span.start_ns,
            end_time_unix_nano=span.end_ns,
        )
        if span.is_error:
            made.status.code = Status.STATUS_CODE_ERROR
    return message.SerializeToString()


@pytest.mark.parametrize("case", CASES[::5], ids=lambda case: case.name)
def test_the_corpus(case: Case) -> None:
    remembering, plain = recogniser(), recogniser()
    bodies = [body for body, content_type in case.bodies if content_type.startswith(PROTOBUF)]
    for body in bodies * 3:  # to compare more is to begin anew: the third time layouts are known
        assert_same(remembering, plain, body)


def has_encodable_texts(span: Span) -> bool:
    return "\\ud800" not in repr(span.attributes)


@settings(max_examples=400, deadline=None)
@given(sequences(), st.data())
def test_any_sequence(spans: list[Span], data: st.DataObject) -> None:
    remembering = recogniser()
    spans = [span for span in spans if has_encodable_texts(span)]
    for _ in range(3):
        named = []
        for span in spans:
            keys = data.draw(st.lists(st.sampled_from(("tenant.id", "customer.id", "metadata")), unique=True))
            tenants = {key: data.draw(st.sampled_from(TENANT_VALUES)) for key in keys}
            resource = {"service.name": data.draw(st.sampled_from(("one", "other"))), "tenant.tier": "gold"}
            named.append(replace(span, attributes={**span.attributes, **tenants}, resource=resource))
        assert_same(remembering, recogniser(), encoded(named))


def looked_into(recogniser: Recogniser, spans: Sequence[Span], monkeypatch: pytest.MonkeyPatch) -> int:
    """How many spans of a request had to be decoded."""
    count = 0
    add = FactsMaker.add

    def counted(self: FactsMaker, span: Span) -> bool:
        nonlocal count
        count += 1
        return add(self, span)

    with monkeypatch.context() as patch:
        patch.setattr(FactsMaker, "add", counted)
        facts_and_links(recogniser, encoded(spans), is_decoded=False)
    return count


def calls(first: int, count: int) -> list[Span]:
    """Of one form; ids, counts, tenants and times are each one's own."""
    return [
        replace(
            SPAN,
            start_ns=number,
            end_ns=number + 5,
            attributes={
                **SPAN.attributes,
                "gen_ai.response.id": f"chatcmpl-{number}",
                "gen_ai.usage.input_tokens": number + 3,
                "gen_ai.usage.output_tokens": 2 * number + 1,
                "tenant.id": f"tenant-{number}",
                "http.url": f"/{number % 3}",
            },
        )
        for number in range(first, first + count)
    ]


def test_only_the_first_spans_of_a_layout_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    remembering = recogniser()
    assert looked_into(remembering, calls(0, 20), monkeypatch) < 5
    assert looked_into(remembering, calls(20, 200), monkeypatch) == 0
    facts, links = facts_and_links(remembering, encoded(calls(300, 2)), is_decoded=False)
    assert [(one.tenant, one.call and one.call.response_id, one.end_ns) for one in facts] == [
        ("tenant-300", "chatcmpl-300", 305),
        ("tenant-301", "chatcmpl-301", 306),
    ]
    assert not links


def test_a_value_that_cannot_be_read_is_decoded_and_the_next_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    remembering = recogniser()
    looked_into(remembering, calls(0, 20), monkeypatch)
    for key, value in (
        ("gen_ai.usage.input_tokens", -1),
        ("gen_ai.usage.input_tokens", "many"),
        ("gen_ai.response.id", ""),
        ("gen_ai.response.id", 5),
        ("gen_ai.response.id", "Straße"),
        ("tenant.id", ("a", "b")),
        ("tenant.id", " "),
    ):
        odd = replace(SPAN, attributes={**calls(50, 1)[0].attributes, key: value})
        assert looked_into(remembering, [odd], monkeypatch) == 1
        assert_same(remembering, recogniser(), encoded([odd]))
        assert looked_into(remembering, calls(60, 3), monkeypatch) == 0


def test_what_is_different_on_every_span_is_not_learnt_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    remembering = recogniser()
    models = [
        replace(SPAN, attributes={**SPAN.attributes, "gen_ai.request.model": f"model-{number}"})
        for number in range(MOST_LAYOUTS + 20)
    ]
    looked_into(remembering, models, monkeypatch)
    [known] = remembering._remembered.scopes._known.values()
    assert known.is_opaque and not known.layouts
    assert looked_into(remembering, calls(0, 3), monkeypatch) == 3
    assert_same(remembering, recogniser(), encoded(calls(0, 3)))


def test_what_is_remembered_is_bounded() -> None:
    remembering = recogniser()
    scopes = [replace(SPAN, scope=replace(SPAN.scope, name=f"scope-{number}")) for number in range(2 * MOST_SCOPES)]
    facts_and_links(remembering, encoded(scopes), is_decoded=False)
    assert len(remembering._remembered.scopes._known) <= MOST_SCOPES


def test_an_error_with_a_message_of_its_own_is_no_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    remembering = recogniser()
    message = ExportTraceServiceRequest.FromString(encoded(calls(0, 50)))
    for number, resource_spans in enumerate(message.resource_spans):
        resource_spans.scope_spans[0].spans[0].status.code = Status.STATUS_CODE_ERROR
        resource_spans.scope_spans[0].spans[0].status.message = f"error {number}"
    for _ in range(3):
        assert_same(remembering, recogniser(), message.SerializeToString())
    assert not any(known.layouts for known in remembering._remembered.scopes._known.values())


def test_what_is_broken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    remembering = recogniser()
    looked_into(remembering, calls(0, 20), monkeypatch)
    body = encoded(calls(20, 1))
    at = body.index(b"\x0a\x12gen_ai.response.id")
    broken = body[: at + 22] + b"\x7f" + body[at + 23 :]
    with pytest.raises(MalformedError, match=f"not an OTLP protobuf body: byte {at + 22}"):
        facts_and_links(remembering, broken, is_decoded=False)


@settings(deadline=None)
@given(
    st.text(max_size=20)
    | st.text(st.sampled_from('a" \t\x7f\u200b\u00a0ß'), max_size=6)
    | st.integers(MOST_CHARACTERS - 1, MOST_CHARACTERS + 1).map(lambda size: "x" * size)
    | st.integers()
    | st.floats()
    | st.lists(st.text(max_size=3) | st.integers(0, 2)).map(tuple)
    | st.dictionaries(st.text(), st.text())
)
def test_the_tenant_of_a_value_is_the_one_that_is_found(value: AttributeValue) -> None:
    assert tenant_of(value) == find_tenant({"tenant.id": value}, ("tenant.id",)).tenant
