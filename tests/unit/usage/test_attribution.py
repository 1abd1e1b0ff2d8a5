"""Who pays, by what was bound in code and what baggage carried; and when a trace has to wait for more."""

import pytest

import spanmeter
from spanmeter.binding import Bound, bound
from spanmeter.usage.attribution import Attribution, Where, attribute
from spanmeter.usage.call import SpanFacts
from spanmeter.usage.decision import DecisionRules, decide
from spanmeter.usage.facts import BOUND_KEY
from spanmeter.usage.recognition import Recogniser
from spanmeter.usage.span import AttributeValue, Captured
from spanmeter.usage.trace import Trace
from tests.spans import carrier, facts, llm_call, span, trace_id

RECOGNISER = Recogniser(tenant_attributes=["tenant.id"], dimensions={"tier": "tenant.tier"})
CHAT: dict[str, AttributeValue] = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 5}


def trace_of(*spans: SpanFacts) -> Trace:
    return Trace(facts={one.span_id: one for one in spans})


def recognised(captured: Captured, attributes: dict[str, AttributeValue], **resource: str) -> SpanFacts | None:
    made = span(tokens=None, attributes=attributes, captured=captured, resource=resource)
    return RECOGNISER.facts(made, received_ns=1)


def acme(**dimensions: str) -> Bound:
    with spanmeter.tenant("acme", **dimensions):
        held = bound()
    assert held is not None
    return held


class TestRecognition:
    def test_bound_in_code(self) -> None:
        found = recognised(Captured(acme(tier="gold", team="x")), CHAT)
        assert found is not None
        assert (found.tenant, found.tenant_key) == ("acme", BOUND_KEY)
        assert dict(found.dimensions) == {"tier": "gold", "team": "x"}

    def test_the_span_s_own_attributes_come_first(self) -> None:
        found = recognised(Captured(acme(tier="gold")), CHAT | {"tenant.id": "own", "tenant.tier": "silver"})
        assert found is not None
        assert (found.tenant, dict(found.dimensions)) == ("own", {"tier": "silver"})

    def test_what_can_be_no_tenant_is_a_person_s_to_decide(self) -> None:
        found = recognised(Captured(acme()), CHAT | {"tenant.id": ["a", "b"]})
        assert found is not None
        assert (found.tenant, found.unusable_tenants) == ("", ("'a'", "'b'"))

    def test_a_span_that_is_no_call_carries_what_is_bound_unless_its_parent_does(self) -> None:
        found = recognised(Captured(acme()), {})
        assert found is not None
        assert found.tenant == "acme"
        assert recognised(Captured(acme(), bound_above=True), {}) is None
        again = recognised(Captured(acme(), bound_above=True), CHAT)
        assert again is not None
        assert again.tenant == "acme"

    def test_baggage(self) -> None:
        found = recognised(Captured(None, {"tenant.id": "carried", "tenant.tier": "gold", "other": "x"}), CHAT)
        assert found is not None
        assert (found.tenant, found.baggage_tenant, dict(found.dimensions)) == ("", "carried", {"tier": "gold"})
        assert recognised(Captured(None, {"tenant.id": "carried"}), {}) is None


def test_the_places_in_their_order() -> None:
    call = facts(
        2,
        parent=1,
        credential_tenant="credential",
        tenant="own",
        baggage_tenant="baggage",
        resource_tenant="resource",
    )
    order: list[Where | None] = []
    for gone in ("credential_tenant", "tenant", "", "baggage_tenant", "resource_tenant", ""):
        above = carrier(1, "above") if len(order) < 3 else facts(1, call=None)
        found = attribute(call, trace_of(call, above), default_subject="default")
        order.append(found.where)
        if gone:
            call = SpanFacts(**{name: getattr(call, name) for name in SpanFacts.__slots__} | {gone: ""})
    assert order == [
        *(Where.CREDENTIAL, Where.SPAN, Where.ANCESTOR),
        *(Where.BAGGAGE, Where.RESOURCE, Where.DEFAULT),
    ]


def test_baggage_comes_before_the_rest_of_a_broken_trace() -> None:
    call = facts(3, parent=9, baggage_tenant="carried", baggage_tenant_key="tenant.id")
    found = attribute(call, trace_of(call, carrier(1, "elsewhere")))
    assert found == Attribution(tenant="carried", where=Where.BAGGAGE, key="tenant.id")


@pytest.mark.parametrize(("carried", "settled"), [("", False), ("acme", True)])
def test_a_call_below_another_process_waits_for_nobody_if_baggage_names_the_tenant(carried: str, settled: bool) -> None:
    call = facts(3, parent=9, parent_is_remote=True, baggage_tenant=carried)
    assert trace_of(call).is_settled(call) is settled


def test_calls_alike_with_different_baggage_are_two() -> None:
    one = facts(1, scope="a", call=llm_call(), baggage_tenant="acme")
    other = facts(1, trace=2, scope="b", call=llm_call(), baggage_tenant="bolt")
    traces = {trace_id(1): trace_of(one), trace_id(2): trace_of(other)}
    made = decide(traces, billed={}, rules=DecisionRules())
    assert sorted(decision.attribution.tenant for decision in made) == ["acme", "bolt"]
