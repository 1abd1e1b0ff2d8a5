"""One outcome a span, and the right payer."""

from typing import Any

from spanmeter.usage.attribution import Where
from spanmeter.usage.call import Role, SpanFacts, Usage
from spanmeter.usage.decision import Decision, DecisionRules, decide
from spanmeter.usage.outcome import Outcome, Reason
from spanmeter.usage.trace import Trace
from tests.spans import SPECIFIC_ID, carrier, facts, llm_call, span_id, trace_id
from tests.unit.usage.test_grouping import traces


def decided(
    *spans: SpanFacts, rules: DecisionRules | None = None, billed: dict[tuple[bytes, bytes], str] | None = None
) -> dict[int, Decision]:
    """Decisions by the span's number."""
    found = decide(traces(*spans), billed=billed or {}, rules=rules or DecisionRules())
    return {int.from_bytes(decision.span.span_id, "big"): decision for decision in found}


class TestOutcomes:
    def test_a_call_with_a_tenant_is_billed(self) -> None:
        [decision] = decided(facts(1, tenant="acme")).values()
        assert (decision.outcome, decision.attribution.tenant) == (Outcome.BILLED, "acme")

    def test_without_counts(self) -> None:
        reasons = {
            Reason.NO_USAGE: llm_call(usage=None),
            Reason.STREAM_WITHOUT_USAGE: llm_call(usage=None, streamed=True),
            Reason.FAILED: llm_call(usage=None, is_error=True, streamed=True),
        }
        for reason, call in reasons.items():
            [decision] = decided(facts(1, tenant="acme", call=call)).values()
            assert (decision.outcome, decision.reason) == (Outcome.UNMETERED, reason)

    def test_unbelievable_counts(self) -> None:
        [decision] = decided(facts(1, tenant="acme", call=llm_call(usage=None, problem="negative"))).values()
        assert decision.outcome is Outcome.INVALID

    def test_an_error_with_counts_is_billed(self) -> None:
        # The provider bills a stream that broke after its usage came.
        [decision] = decided(facts(1, tenant="acme", call=llm_call(is_error=True))).values()
        assert decision.outcome is Outcome.BILLED

    def test_estimates_wait_or_are_marked(self) -> None:
        guessed = facts(1, tenant="acme", call=llm_call(estimated=True))
        assert decided(guessed)[1].outcome is Outcome.ESTIMATED
        assert decided(guessed, rules=DecisionRules(bill_estimates=True))[1].outcome is Outcome.BILLED

    def test_the_measured_record_stands_for_a_guessed_one(self) -> None:
        guess = facts(1, scope="a", tenant="acme", call=llm_call(10, 8, estimated=True, response_id=SPECIFIC_ID))
        measured = facts(2, scope="b", tenant="acme", call=llm_call(10, 5, response_id=SPECIFIC_ID))
        found = decided(guess, measured)
        assert (found[1].outcome, found[2].outcome) == (Outcome.DUPLICATE, Outcome.BILLED)
        assert found[1].same_as == span_id(2)

    def test_a_record_that_mixes_up_requests_yields_to_another_s(self) -> None:
        # mistralai 1.12.4 _hooks/tracing.py: of requests at the same time, one's counts come onto another's span.
        acme = facts(1, trace=1, scope="openlit", tenant="acme", call=llm_call(400, 40))
        other = facts(2, trace=2, scope="openlit", tenant="initech", call=llm_call(800, 20))
        times = {"start_ns": acme.start_ns, "end_ns": acme.end_ns}
        mixed = facts(
            3, trace=2, parent=2, scope="sdk", tenant="initech", call=llm_call(400, 40, mixes_up=True), **times
        )
        found = decided(acme, other, mixed)
        assert [found[number].outcome for number in (1, 2, 3)] == [Outcome.BILLED, Outcome.BILLED, Outcome.DUPLICATE]
        assert (found[1].attribution.tenant, found[3].same_as) == ("acme", span_id(1))
        assert decided(mixed)[3].attribution.tenant == "initech"

    def test_a_step_that_hands_on_a_call_s_counts_is_no_sum_without_calls(self) -> None:
        # langsmith 0.15.1: with_structured_output's `_check_refusal` beside the model it checks.
        made = facts(1, parent=9, tenant="acme")
        step = facts(2, parent=9, tenant="acme", call=llm_call(role=Role.AGGREGATE))
        other = facts(3, parent=9, tenant="acme", call=llm_call(11, 5, role=Role.AGGREGATE))
        found = decided(made, step, other)
        assert (found[2].outcome, found[2].reason) == (Outcome.AGGREGATE, Reason.SUM)
        assert (found[3].outcome, found[3].reason) == (Outcome.PARKED, Reason.SOLE_AGGREGATE)


class TestStanding:
    def test_the_innermost_bills_under_the_response_id_that_another_knows(self) -> None:
        # openlit around mistralai's own span: only the outer one has the id.
        outer = facts(
            1, scope="openlit", tenant="acme", call=llm_call(response_id=SPECIFIC_ID, response_model="m-2411")
        )
        inner = facts(2, parent=1, scope="sdk", tenant="acme", call=llm_call(provider=""))
        found = decided(outer, inner)
        assert found[1].outcome is Outcome.DUPLICATE
        assert found[2].identity == SPECIFIC_ID
        assert (found[2].call.provider, found[2].call.response_model) == ("openai", "m-2411")

    def test_parts_that_another_record_tells_apart(self) -> None:
        outer = facts(
            1, scope="a", tenant="t", call=llm_call(usage=Usage(input=4, cache_read=6, output=3, reasoning=2))
        )
        inner = facts(2, parent=1, scope="b", tenant="t", call=llm_call(10, 5))
        billed = decided(outer, inner)[2]
        assert billed.outcome is Outcome.BILLED
        assert billed.call.usage == Usage(input=4, cache_read=6, output=3, reasoning=2)

    def test_who_knows_the_prompt(self) -> None:
        whole = facts(1, scope="a", tenant="acme")
        for inner in (
            facts(2, parent=1, scope="b", tenant="acme", call=llm_call(0, 5)),
            facts(2, scope="b", start_ns=whole.start_ns, end_ns=whole.end_ns, call=llm_call(0, 5)),
        ):
            found = decided(whole, inner)
            assert (found[1].outcome, found[2].outcome) == (Outcome.BILLED, Outcome.DUPLICATE)

    def test_who_knows_the_reasoning(self) -> None:
        whole = llm_call(usage=Usage(input=10, output=5, reasoning=7))
        agent = facts(9, call=llm_call(usage=None, role=Role.AGGREGATE))
        outside = facts(1, scope="a", tenant="acme", call=whole)
        for inner in (
            facts(2, parent=1, scope="b", tenant="acme"),
            facts(2, parent=9, scope="b", tenant="acme", start_ns=outside.start_ns, end_ns=outside.end_ns),
        ):
            found = decided(agent, outside, inner)
            assert (found[1].outcome, found[2].outcome) == (Outcome.BILLED, Outcome.DUPLICATE)
            assert found[1].usage == whole.usage

    def test_the_twin_without_a_tenant_is_no_parked_call(self) -> None:
        outer = facts(1, scope="a", tenant="acme")
        inner = facts(2, trace=2, scope="b", start_ns=outer.start_ns, end_ns=outer.end_ns)
        found = decided(outer, inner)
        assert sorted(decision.outcome for decision in found.values()) == [Outcome.BILLED, Outcome.DUPLICATE]
        assert {d.attribution.tenant for d in found.values() if d.outcome is Outcome.BILLED} == {"acme"}

    def test_who_was_billed_before_stands(self) -> None:
        outer, inner = facts(1, scope="a", tenant="acme"), facts(2, parent=1, scope="b", tenant="acme")
        found = decided(outer, inner, billed={(trace_id(1), span_id(1)): "known"})
        assert (found[1].outcome, found[1].identity) == (Outcome.BILLED, "known")
        assert found[2].outcome is Outcome.DUPLICATE


class TestAggregates:
    def test_beside_its_parts(self) -> None:
        agent = facts(1, tenant="acme", call=llm_call(30, 10, role=Role.AGGREGATE))
        part = facts(2, parent=1)
        found = decided(agent, part)
        assert (found[1].outcome, found[2].outcome) == (Outcome.AGGREGATE, Outcome.BILLED)

    def test_alone(self) -> None:
        agent = facts(1, tenant="acme", call=llm_call(30, 10, role=Role.AGGREGATE))
        assert (decided(agent)[1].outcome, decided(agent)[1].reason) == (Outcome.PARKED, Reason.SOLE_AGGREGATE)

    def test_the_only_source_by_its_dialect(self) -> None:
        agent = facts(1, tenant="acme", call=llm_call(30, 10, role=Role.AGGREGATE, sole_source=True))
        assert decided(agent)[1].outcome is Outcome.BILLED

    def test_calls_elsewhere_in_the_trace_are_not_its_parts(self) -> None:
        root = carrier(9, "acme")
        agent = facts(1, parent=9, call=llm_call(30, 10, role=Role.AGGREGATE))
        other = facts(2, parent=9)
        assert decided(root, agent, other)[1].outcome is Outcome.PARKED

    def test_a_part_whose_parents_are_missing_lies_within_its_time(self) -> None:
        agent = facts(1, tenant="acme", call=llm_call(30, 10, role=Role.AGGREGATE))
        part = facts(2, parent=77, start_ns=agent.start_ns + 1, end_ns=agent.end_ns - 1)
        assert decided(agent, part)[1].outcome is Outcome.AGGREGATE

    def test_the_innermost_of_nested_ones(self) -> None:
        outer = facts(1, tenant="acme", call=llm_call(30, 10, role=Role.AGGREGATE, sole_source=True))
        inner = facts(2, parent=1, call=llm_call(30, 10, role=Role.AGGREGATE, sole_source=True))
        found = decided(outer, inner)
        assert (found[1].outcome, found[2].outcome) == (Outcome.AGGREGATE, Outcome.BILLED)

    def test_an_agent_that_a_tool_asks_is_not_a_part_of_the_asking_one(self) -> None:
        # google-adk tools/agent_tool.py under openinference-instrumentation-google-adk 1.0.5: `invoke_agent` has the
        # last call of its own agent.
        boss = facts(1, tenant="acme", call=llm_call(30, 10, role=Role.AGGREGATE, sole_source=True))
        tool = facts(2, parent=1, call=None, is_tool=True)
        asked = facts(3, parent=2, call=llm_call(20, 5, role=Role.AGGREGATE, sole_source=True))
        found = decided(boss, tool, asked)
        assert (found[1].outcome, found[3].outcome) == (Outcome.BILLED, Outcome.BILLED)


class TestAttribution:
    def where(self, *spans: SpanFacts, number: int = 1, **rules: str) -> tuple[str, Where | None]:
        found = decided(*spans, rules=DecisionRules(default_subject=rules.get("default", ""))).get(number)
        assert found is not None
        return found.attribution.tenant, found.attribution.where

    def test_the_order(self) -> None:
        root, near = carrier(8, "far"), carrier(9, "near", parent=8)
        everywhere: dict[str, Any] = {"parent": 9, "resource_tenant": "resource"}
        assert self.where(root, near, facts(1, credential_tenant="key", tenant="own", **everywhere)) == (
            "key",
            Where.CREDENTIAL,
        )
        assert self.where(root, near, facts(1, tenant="own", **everywhere)) == ("own", Where.SPAN)
        assert self.where(root, near, facts(1, **everywhere)) == ("near", Where.ANCESTOR)
        assert self.where(facts(1, resource_tenant="resource"), default="last") == ("resource", Where.RESOURCE)
        assert self.where(facts(1), default="last") == ("last", Where.DEFAULT)

    def test_the_rest_of_the_trace_where_the_chain_is_broken(self) -> None:
        assert self.where(carrier(8, "acme"), facts(1, parent=77)) == ("acme", Where.TRACE)
        assert self.where(carrier(8, "acme"), facts(1, parent=0)) == ("", None)

    def test_several_tenants_in_the_rest_of_the_trace(self) -> None:
        found = decided(carrier(8, "acme"), carrier(9, "globex"), facts(1, parent=77, resource_tenant="resource"))
        assert (found[1].outcome, found[1].reason) == (Outcome.PARKED, Reason.TENANT_CONFLICT)
        assert found[1].attribution.candidates == ("acme", "globex")

    def test_records_of_one_call_that_name_different_tenants(self) -> None:
        one = facts(1, scope="a", tenant="acme", call=llm_call(response_id=SPECIFIC_ID))
        other = facts(2, scope="b", tenant="globex", call=llm_call(response_id=SPECIFIC_ID))
        outcomes = sorted(decision.outcome for decision in decided(one, other).values())
        assert outcomes == [Outcome.DUPLICATE, Outcome.PARKED]


def test_links_lead_to_the_tenant() -> None:
    trace = Trace(
        facts={span.span_id: span for span in (carrier(8, "acme"), facts(1, parent=5))}, links={span_id(5): span_id(8)}
    )
    [decision] = decide({trace_id(1): trace}, billed={}, rules=DecisionRules())
    assert (decision.attribution.tenant, decision.attribution.where) == ("acme", Where.ANCESTOR)


class TestLateParts:
    """What was billed cannot be undone: parts of it that come later are not billed once more."""

    def test_of_a_call_that_turns_out_to_be_a_sum(self) -> None:
        outer = facts(1, scope="framework", tenant="acme", call=llm_call(30, 30))
        parts = [facts(n, parent=1, scope="sdk", call=llm_call(5 * n, 5 * n)) for n in (2, 4)]
        found = decided(outer, *parts, billed={(trace_id(1), span_id(1)): "outer"})
        assert [found[n].outcome for n in (1, 2, 4)] == [Outcome.BILLED, Outcome.DUPLICATE, Outcome.DUPLICATE]
        assert decided(outer, parts[0], billed={(trace_id(1), span_id(1)): "outer"})[2].reason is Reason.PART

    def test_of_an_aggregate_that_was_the_only_record(self) -> None:
        agent = facts(1, tenant="acme", call=llm_call(30, 30, role=Role.AGGREGATE, sole_source=True))
        part = facts(2, parent=1, call=llm_call(10, 10))
        found = decided(agent, part, billed={(trace_id(1), span_id(1)): "agent"})
        assert (found[1].outcome, found[2].outcome) == (Outcome.BILLED, Outcome.DUPLICATE)

    def test_another_model_inside_is_billed(self) -> None:
        outer = facts(1, tenant="acme", call=llm_call(30, 30))
        other = facts(2, parent=1, call=llm_call(10, 10, request_model="omni-moderation"))
        assert decided(outer, other, billed={(trace_id(1), span_id(1)): "outer"})[2].outcome is Outcome.BILLED

    def test_a_tool_s_late_call_is_no_part_of_the_billed_one(self) -> None:
        outer = facts(1, tenant="acme", call=llm_call(30, 30))
        tool = facts(2, parent=1, call=None, is_tool=True)
        other = facts(3, parent=2, call=llm_call(10, 10))
        assert decided(outer, tool, other, billed={(trace_id(1), span_id(1)): "outer"})[3].outcome is Outcome.BILLED
