"""Packed facts are the facts."""

from dataclasses import fields
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from spanmeter.store.journal import decoded, encoded
from spanmeter.usage.call import LlmCall, Role, SpanFacts, Usage
from spanmeter.usage.packing import PackedFacts, packed
from tests.spans import facts, llm_call

words = st.sampled_from(("", "a", "b"))
usages = st.none() | st.builds(Usage, input=st.integers(0, 9), cache_read=st.integers(0, 2), output=st.integers(0, 9))
calls = st.none() | st.builds(
    llm_call,
    usage=usages,
    role=st.sampled_from(Role),
    response_id=words,
    request_model=words,
    problem=words,
    streamed=st.booleans(),
    looks_back_ns=st.integers(0, 1),
)
some_facts = st.lists(
    st.builds(
        facts,
        number=st.integers(1, 50),
        trace=st.integers(1, 3),
        parent=st.integers(0, 3),
        tenant=words,
        tenant_key=words,
        resource_tenant=words,
        parent_is_remote=st.none() | st.booleans(),
        hints=st.sampled_from(((), (("user.id", "7"),))),
        call=calls,
    ),
    max_size=8,
)


@given(some_facts)
def test_unpacked_they_are_what_they_were(given_facts: list[SpanFacts]) -> None:
    found = packed(given_facts)
    assert list(found) == given_facts
    assert [found[index] for index in range(len(found))] == given_facts
    assert found[1:3] == given_facts[1:3]
    assert found == given_facts and packed(found) is found
    assert list(PackedFacts(found.shapes, found.rows)) == given_facts


OF_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "bytes": st.binary(max_size=16),
    "str": st.text(max_size=8),
    "int": st.integers(0, 2**63 - 1),
    "bool": st.booleans(),
    "bool | None": st.none() | st.booleans(),
    "tuple[str, ...]": st.lists(st.text(max_size=3), max_size=2).map(tuple),
    "tuple[tuple[str, str], ...]": st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), max_size=2).map(tuple),
    "Role": st.sampled_from(Role),
}


def everything(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Values of a dataclass with every field set, each by itself. A new field has to be of a type known here."""
    made: dict[str, st.SearchStrategy[Any]] = {}
    for field in fields(kind):
        shown = field.type.__name__ if isinstance(field.type, type) else str(field.type)
        if field.name == "usage":
            made[field.name] = st.none() | everything(Usage)
        elif field.name == "call":
            made[field.name] = st.none() | everything(LlmCall)
        else:
            made[field.name] = OF_TYPE[shown]
    return st.builds(kind, **made)


@settings(max_examples=40, deadline=None)
@given(st.lists(everything(SpanFacts), max_size=3))
def test_every_field_comes_back(given_facts: list[SpanFacts]) -> None:
    assert list(packed(given_facts)) == given_facts
    assert repr(list(decoded(encoded(given_facts)))) == repr(given_facts)


def test_what_is_common_is_kept_once() -> None:
    many = [facts(number, trace=number, call=llm_call(number, response_id=str(number))) for number in range(1, 100)]
    assert len(packed(many).shapes) == 1


def test_shapes_have_nothing_of_a_span() -> None:
    whole: dict[str, Any] = {"tenant": "acme", "call": llm_call(response_id="chatcmpl-1")}
    shape = packed([facts(7, trace=3, parent=2, **whole)]).shapes[0]
    assert (shape.trace_id, shape.span_id, shape.parent_span_id) == (b"", b"", b"")
    assert (shape.start_ns, shape.end_ns, shape.tenant) == (0, 0, "")
    assert shape.call is not None and (shape.call.response_id, shape.call.usage) == ("", None)
