"""Recognition remembered gives what the rules give, for whatever comes after whatever."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanmeter.usage.call import LlmCall, Role, SpanFacts
from spanmeter.usage.construct import make_usage
from spanmeter.usage.dialects import DIALECTS
from spanmeter.usage.dialects.custom import CallNames, DialectSpec, custom_dialect
from spanmeter.usage.dialects.otel_genai import COUNTS
from spanmeter.usage.forms import MOST_LEARNT, Forms
from spanmeter.usage.recognition import Recogniser
from spanmeter.usage.span import AttributeValue, Span
from spanmeter.usage.values import passed, text
from tests.corpus.cases import Case, all_cases
from tests.unit.usage.dialects.spans import span_of
from tests.unit.usage.dialects.test_all import NAMES, SCOPES, values

CASES = list(all_cases())
TENANTS = ("tenant.id", "customer.id", "metadata#tenant")
RULE = DialectSpec(
    name="own",
    counts=COUNTS,
    call=CallNames(response_id=("own.id",), request_model=("own.model",)),
    where={"own.id": "a"},
)
SPAN = span_of(
    "opentelemetry.instrumentation.openai_v2",
    "chat gpt-4o",
    {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
    },
)


def recogniser() -> Recogniser:
    dialects = (custom_dialect(RULE), *DIALECTS)
    return Recogniser(tenant_attributes=TENANTS, dimensions={"tier": "tenant.tier"}, dialects=dialects)


def plain_facts(span: Span) -> SpanFacts | None:
    """Of one that never saw a span before: the rules are asked."""
    return recogniser().facts(span, received_ns=1)


def with_attributes(span: Span, **changed: AttributeValue) -> Span:
    return replace(span, attributes={**span.attributes, **{key.replace("__", "."): v for key, v in changed.items()}})


@pytest.mark.parametrize("case", CASES[::7], ids=lambda case: case.name)
def test_the_corpus(case: Case) -> None:
    remembering = recogniser()
    spans = [span for request in case.requests() for span in request.decoded().spans]
    counted: list[Span] = []
    for span in spans:
        numbers = {key: value for key, value in span.attributes.items() if type(value) is int}
        for change in (lambda value: value + 1, lambda _: 0, lambda _: -1, lambda _: True, str, float):
            changed = {key: change(value) for key, value in numbers.items()}
            counted.append(replace(span, attributes={**span.attributes, **changed}))
    for span in (*spans, *counted, *spans):
        assert remembering.facts(span, received_ns=1) == plain_facts(span)


KEYS = sorted(
    frozenset().union(*(dialect.keys | dialect.context for dialect in DIALECTS))
    | {"tenant.id", "customer.id", "metadata", "tenant.tier", "user.id", "own.id", "own.model"}
)
FEW: st.SearchStrategy[AttributeValue] = st.sampled_from(
    (0, 1, 2, 5, True, False, 1.0, "1", "", "a", "b", None, ("a",), "chat", "stop", "llm", "LLM", "gemini", "\ud800")
)


@st.composite
def sequences(draw: Any) -> list[Span]:
    """Spans with few different sets of keys and few different values, so that forms are met again."""
    scope, name = draw(st.sampled_from(SCOPES)), draw(st.sampled_from(NAMES))
    dialect = draw(st.sampled_from(DIALECTS))
    usual = sorted(dialect.keys | dialect.context)
    keys = draw(st.lists(st.sampled_from(usual) | st.sampled_from(KEYS), max_size=8, unique=True))
    common = {key: draw(FEW | values) for key in keys}
    spans = []
    for _ in range(draw(st.integers(2, 8))):
        own = {key: draw(FEW) for key in keys if draw(st.booleans())}
        version = draw(st.sampled_from(("", "0.4.0", "9")))
        span = span_of(scope, name, common | own, version=version, is_error=draw(st.booleans()))
        spans.append(replace(span, name=draw(st.sampled_from((name, "other")))))
    return spans


@settings(max_examples=400, deadline=None)
@given(sequences())
def test_any_sequence(spans: list[Span]) -> None:
    remembering = recogniser()
    for span in spans:
        assert remembering.facts(span, received_ns=1) == plain_facts(span)


@settings(max_examples=200, deadline=None)
@given(sequences(), st.text(min_size=1, max_size=5), st.text(min_size=1, max_size=5))
def test_a_response_id_is_handed_on_and_nothing_else_depends_on_it(spans: list[Span], one: str, other: str) -> None:
    key = "gen_ai.response.id"
    calls = [recogniser().ask(with_attributes(spans[0], **{key: value})) for value in (one, other)]
    assert bare(calls[0], one) == bare(calls[1], other)


def bare(call: LlmCall | None, response_id: str) -> LlmCall | None:
    return replace(call, response_id="") if call is not None and call.response_id == response_id else call


def recognised(forms: Forms, span: Span) -> LlmCall | None:
    """The call that the form, the id and the counts make."""
    form, response_id, counts = forms.recognise(span)
    if form.call is None:
        return None
    return replace(form.call, response_id=response_id, usage=None if counts is None else make_usage(*counts))


class Rules:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self._recogniser = recogniser()

    def ask(self, span: Span) -> LlmCall | None:
        self.asked += 1
        return self._recogniser.ask(span)


def test_rules_are_asked_once_for_a_form() -> None:
    rules = Rules()
    forms = Forms(rules.ask)
    recognised(forms, SPAN)
    asked = rules.asked
    for number in range(1, 50):
        id_ = f"chatcmpl-{number}"
        call = recognised(forms, with_attributes(SPAN, gen_ai__usage__input_tokens=number, gen_ai__response__id=id_))
        assert call is not None and call.usage is not None
        assert (call.usage.input, call.response_id, call.request_model) == (number, id_, "gpt-4o")
    assert rules.asked == asked
    other = recognised(forms, with_attributes(SPAN, gen_ai__request__model="gpt-4.1"))
    assert other is not None and other.request_model == "gpt-4.1"
    assert rules.asked > asked


@pytest.mark.parametrize("value", [0.5, ["a"], {"a": 1}, "x" * 1000], ids=["float", "list", "object", "long"])
def test_what_cannot_be_compared_is_asked_about(value: AttributeValue) -> None:
    forms = Forms(recogniser().ask)
    for span in (SPAN, with_attributes(SPAN, gen_ai__request__model=value), SPAN):
        assert recognised(forms, span) == recogniser().ask(span)


def test_equal_values_of_different_types_differ() -> None:
    forms = Forms(lambda span: None if span.attributes["a"] is True else LlmCall(role=Role.CALL, dialect="x"))
    ones: tuple[AttributeValue, ...] = (1, True, "1", 1, True)
    found = [recognised(forms, replace(SPAN, attributes={"a": value})) for value in ones]
    assert [call is None for call in found] == [False, True, False, False, True]


def test_a_value_that_never_repeats_makes_a_kind_opaque_and_the_answers_stay_right() -> None:
    def rule(span: Span) -> LlmCall:
        return LlmCall(role=Role.CALL, dialect="x", request_model=text(span.attributes, "a"))

    forms = Forms(rule)
    for number in range(MOST_LEARNT * 3):
        call = recognised(forms, replace(SPAN, attributes={"a": str(number)}))
        assert call is not None and call.request_model == str(number)


def test_a_rule_that_reads_times_is_always_asked() -> None:
    forms = Forms(lambda span: LlmCall(role=Role.CALL, dialect="x", looks_back_ns=span.start_ns))
    for number in range(5):
        call = recognised(forms, replace(SPAN, start_ns=number))
        assert call is not None and call.looks_back_ns == number


def test_a_rule_that_decides_by_counts_is_always_asked() -> None:
    def rule(span: Span) -> LlmCall | None:
        call = recogniser().ask(span)
        return None if call is not None and call.usage is not None and call.usage.input > 100 else call

    forms = Forms(rule)
    found = [
        recognised(forms, with_attributes(SPAN, gen_ai__usage__input_tokens=tokens)) for tokens in (10, 20, 101, 99)
    ]
    assert [call is None for call in found] == [False, False, True, False]


def test_an_id_that_is_compared_by_one_rule_and_handed_on_by_another_is_compared() -> None:
    forms = Forms(recogniser().ask)
    for own_id in ("a", "b", "a", "c"):
        span = replace(SPAN, attributes={"own.id": own_id, "gen_ai.usage.input_tokens": 3})
        call = recognised(forms, span)
        assert call == recogniser().ask(span)
        assert call is not None and call.dialect == ("own" if own_id == "a" else "otel-genai")


def test_passed_is_text_for_attributes_that_nobody_watches() -> None:
    assert passed({"a": "", "b": "x"}, "a", "b") == "x"
    assert passed({"a": 1}, "a") == ""
