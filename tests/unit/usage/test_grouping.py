"""Which spans record the same call. The shapes were seen in the corpus."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanmeter.usage.call import LlmCall, Role, SpanFacts, Usage, call_of, key_of
from spanmeter.usage.grouping import Bond, group_calls
from spanmeter.usage.trace import Trace
from tests.spans import NOW_NS, SPECIFIC_ID, facts, llm_call

MS = 1_000_000
ONE_ID, OTHER_ID = "msg_AAbbCCddEEffGG11", "msg_QQrrSSttUUvvWW22"


def traces(*spans: SpanFacts) -> dict[bytes, Trace]:
    found: dict[bytes, Trace] = {}
    for span in spans:
        found.setdefault(span.trace_id, Trace()).facts[span.span_id] = span
    return found


def groups(*spans: SpanFacts) -> list[set[tuple[bytes, bytes]]]:
    grouping = group_calls(traces(*spans))
    return sorted(
        [*(set(group.members) for group in grouping.groups), *({key_of(span)} for span in grouping.alone)], key=sorted
    )


def keys(*spans: SpanFacts) -> set[tuple[bytes, bytes]]:
    return {key_of(span) for span in spans}


def at(start_ms: int, end_ms: int) -> dict[str, int]:
    return {"start_ns": NOW_NS + start_ms * MS, "end_ns": NOW_NS + end_ms * MS}


class TestSameResponse:
    def test_in_different_traces(self) -> None:
        # A framework's and the SDK's instrumentation without a span of the application's around them: two traces.
        one = facts(1, trace=1, scope="framework", call=llm_call(response_id=SPECIFIC_ID))
        other = facts(2, trace=2, scope="sdk", call=llm_call(response_id=SPECIFIC_ID))
        assert groups(one, other) == [keys(one, other)]

    def test_told_with_other_counts_by_another_instrumentation(self) -> None:
        one = facts(1, scope="framework", call=llm_call(10, 8, response_id=SPECIFIC_ID))
        other = facts(2, scope="sdk", call=llm_call(10, 5, response_id=SPECIFIC_ID))
        assert groups(one, other) == [keys(one, other)]

    def test_other_counts_from_one_instrumentation_are_two_calls(self) -> None:
        one = facts(1, scope="sdk", call=llm_call(10, 8, response_id=SPECIFIC_ID))
        other = facts(2, scope="sdk", call=llm_call(20, 5, response_id=SPECIFIC_ID))
        assert groups(one, other) == [keys(one), keys(other)]

    def test_a_short_id_joins_nothing(self) -> None:
        # Ollama's OpenAI endpoint numbers its responses chatcmpl-0 to chatcmpl-999.
        one = facts(1, trace=1, call=llm_call(response_id="chatcmpl-7"))
        other = facts(20, trace=2, call=llm_call(response_id="chatcmpl-7"))
        assert len(groups(one, other)) == 2


class TestNested:
    def test_a_tool_s_calls_are_its_own(self) -> None:
        # google-adk 1.20 to 2.3, flows/llm_flows/base_llm_flow.py: tools run inside `generate_content`.
        outer = facts(1, scope="adk", call=llm_call(100, 20), **at(0, 900))
        tool = facts(2, parent=1, call=None, is_tool=True, **at(100, 800))
        inner = [
            facts(n, parent=2, scope="adk", call=llm_call(n * 100, 20), **at(n * 100, n * 100 + 90)) for n in (3, 4)
        ]
        assert groups(outer, tool, *inner) == [keys(outer), keys(inner[0]), keys(inner[1])]

    def test_two_records_inside_a_third_by_the_instrumentation_of_one(self) -> None:
        # langfuse 4: the LangChain callback and `langfuse.openai` write with one scope, a third beside the latter.
        outer = facts(1, scope="langfuse-sdk", **at(0, 100))
        inner = facts(2, parent=1, scope="langfuse-sdk", **at(5, 99))
        other = facts(3, parent=1, scope="openinference", **at(6, 98))
        assert groups(outer, inner, other) == [keys(outer, inner, other)]
        outer = facts(1, scope="langfuse-sdk", **at(0, 300))
        second = facts(4, parent=1, scope="langfuse-sdk", **at(200, 290))
        assert groups(outer, inner, other, second) == [keys(outer, second), keys(inner, other)]

    def test_a_further_record_of_a_sum_is_a_sum(self) -> None:
        wrapper = facts(1, scope="framework", call=llm_call(300, 40), **at(0, 900))
        outer = facts(2, parent=1, scope="framework", call=llm_call(300, 40), **at(0, 900))
        inner = [
            facts(n, parent=2, scope="sdk", call=llm_call(n * 50, 20), **at(n * 100, n * 100 + 90)) for n in (3, 4)
        ]
        grouping = group_calls(traces(wrapper, outer, *inner))
        assert {key_of(span) for span in grouping.sums} == keys(wrapper, outer)
        assert len(grouping.groups) == 2

    def test_equal_counts(self) -> None:
        outer = facts(1, scope="framework", **at(0, 100))
        inner = facts(2, parent=1, scope="sdk", **at(10, 90))
        assert groups(outer, inner) == [keys(outer, inner)]

    def test_through_spans_that_are_no_calls(self) -> None:
        outer = facts(1, scope="framework", **at(0, 100))
        between = facts(3, parent=1, call=None)
        inner = facts(2, parent=3, scope="sdk", **at(10, 90))
        assert groups(outer, between, inner) == [keys(outer, inner)]

    def test_cached_tokens_counted_in_and_out(self) -> None:
        # agent-framework excludes Anthropic's cached tokens, the SDK's own span includes them.
        outer = facts(1, scope="framework", call=llm_call(usage=Usage(input=100, output=5)))
        inner = facts(2, parent=1, scope="sdk", call=llm_call(usage=Usage(input=100, cache_read=900, output=5)))
        assert groups(outer, inner) == [keys(outer, inner)]

    def test_another_model_inside_is_another_call(self) -> None:
        outer = facts(1, scope="framework")
        inner = facts(2, parent=1, scope="sdk", call=llm_call(8, 3, request_model="omni-moderation"))
        assert groups(outer, inner) == [keys(outer), keys(inner)]

    def test_a_fallback_s_answer_is_the_same_call_under_the_name_asked_for(self) -> None:
        # openinference-instrumentation-litellm 0.1.51: `completion` with `fallbacks` around two `acompletion`.
        outer = facts(1, scope="oi", call=llm_call(500, 20, request_model="openai/a"))
        failed = facts(2, parent=1, scope="oi", call=llm_call(usage=None, request_model="openai/a", is_error=True))
        answered = facts(3, parent=1, scope="oi", call=llm_call(500, 20, request_model="openai/b"))
        assert groups(outer, failed, answered) == [keys(outer, answered), keys(failed)]

    def test_an_agent_between_makes_calls_of_its_own(self) -> None:
        outer = facts(1, scope="framework")
        agent = facts(3, parent=1, call=llm_call(role=Role.AGGREGATE))
        inner = facts(2, parent=3, scope="sdk")
        assert groups(outer, agent, inner) == [keys(outer), keys(inner)]

    def test_counts_that_cannot_agree_are_two_calls(self) -> None:
        outer = facts(1, scope="framework", call=llm_call(1000, 200))
        inner = facts(2, parent=1, scope="sdk", call=llm_call(50, 7))
        assert groups(outer, inner) == [keys(outer), keys(inner)]

    def test_an_inner_stream_without_counts(self) -> None:
        outer = facts(1, scope="framework")
        inner = facts(2, parent=1, scope="sdk", call=llm_call(usage=None))
        assert groups(outer, inner) == [keys(outer, inner)]

    def test_a_call_around_several_is_their_sum(self) -> None:
        # Microsoft.Extensions.AI: a chat client outside the function-invoking one reports all round trips together.
        outer = facts(1, scope="framework", call=llm_call(30, 12))
        first = facts(2, parent=1, scope="sdk", call=llm_call(10, 5))
        second = facts(3, parent=1, scope="sdk", call=llm_call(20, 7))
        grouping = group_calls(traces(outer, first, second))
        assert grouping.sums == [outer]
        assert [set(group.members) for group in grouping.groups] == [keys(first), keys(second)]


class TestSideBySide:
    def test_one_that_ends_before_its_call_begins(self) -> None:
        # openinference-instrumentation-llama-index 4.6.1: a stream's span ends when the generator is made
        ahead = facts(1, scope="llama_index", call=llm_call(looks_ahead_ns=1000 * MS), **at(0, 1))
        call = facts(2, scope="openai", **at(30, 900))
        later = facts(3, scope="openai", **at(1500, 1900))
        assert groups(ahead, call, later) == [keys(ahead, call), keys(later)]
        assert len(groups(ahead, later)) == 2

    def pair(self, **changes: object) -> tuple[SpanFacts, SpanFacts]:
        one = facts(1, trace=1, scope="framework", service="shop", **at(0, 100))
        given: dict[str, object] = {"trace": 2, "scope": "sdk", "service": "shop", **at(10, 90)} | changes
        return one, facts(2, **given)  # type: ignore[arg-type]

    def test_one_within_the_time_of_the_other(self) -> None:
        # OpenInference and OpenLLMetry LangChain callbacks do not make their spans current: siblings or two traces.
        one, other = self.pair()
        assert groups(one, other) == [keys(one, other)]

    def test_same_instrumentation_twice_is_two_calls(self) -> None:
        one, other = self.pair(scope="framework")
        assert len(groups(one, other)) == 2

    def test_other_service(self) -> None:
        assert len(groups(*self.pair(service="billing"))) == 2

    def test_other_counts(self) -> None:
        assert len(groups(*self.pair(call=llm_call(11, 5)))) == 2

    def test_a_prompt_of_no_tokens_is_an_unknown_one(self) -> None:
        # langsmith 0.15.1 on langchain-anthropic's streams: no input tokens; anthropic 2.14.0's own span has them.
        one, other = self.pair(call=llm_call(0, 5))
        assert groups(one, other) == [keys(one, other)]
        third = facts(3, trace=3, scope="third", service="shop", call=llm_call(99, 5), **at(20, 80))
        assert len(groups(one, other, third)) == 2
        assert len(groups(*self.pair(call=llm_call(0, 6)))) == 2

    def test_reasoning_that_one_of_them_left_out(self) -> None:
        # loongsuite-instrumentation-google-adk 0.9.0 _plugin.py takes `candidates_token_count` for the output; beside
        # it is google-adk 1.10.0's own span, whose `usage_metadata` has the thoughts.
        def told(output: int, reasoning: int) -> LlmCall:
            return llm_call(usage=Usage(input=10, output=output, reasoning=reasoning))

        one, other = self.pair(call=told(5, 7))
        assert groups(one, other) == [keys(one, other)]
        assert groups(replace(one, call=other.call), replace(other, call=one.call)) == [keys(one, other)]
        assert len(groups(*self.pair(call=told(6, 7)))) == 2
        assert len(groups(*self.pair(call=llm_call(usage=Usage(input=11, output=5, reasoning=7))))) == 2
        third = facts(3, trace=3, scope="third", service="shop", call=told(5, 8), **at(12, 88))
        assert len(groups(other, third)) == 2
        assert sorted(map(len, groups(one, other, third))) == [1, 2]
        assert len(groups(*self.pair(call=llm_call(usage=Usage(output=5, reasoning=7))))) == 2  # of which prompt?

    def test_identical_prompts_in_parallel_with_reasoning_stay_apart(self) -> None:
        outer = [facts(n, trace=n, scope="framework", service="shop", **at(n, 100 + n)) for n in (1, 2, 3)]
        inner = [
            facts(
                10 + n,
                trace=10 + n,
                scope="sdk",
                service="shop",
                call=llm_call(usage=Usage(input=10, output=5, reasoning=n)),
                **at(n + 1, 99 + n),
            )
            for n in (1, 2, 3)
        ]
        assert sorted(groups(*outer, *inner), key=sorted) == sorted(map(keys, outer, inner), key=sorted)
        assert len(groups(*inner)) == 3

    def test_other_model(self) -> None:
        assert len(groups(*self.pair(call=llm_call(request_model="gpt-4o")))) == 2

    def test_times_that_only_touch(self) -> None:
        assert len(groups(*self.pair(**at(90, 190)))) == 2

    def test_different_tenants(self) -> None:
        one = facts(1, trace=1, scope="framework", service="shop", tenant="acme", **at(0, 100))
        _, other = self.pair(tenant="globex")
        assert len(groups(one, other)) == 2

    def test_two_ids_are_two_calls(self) -> None:
        one = facts(
            1,
            trace=1,
            scope="framework",
            service="shop",
            call=llm_call(response_id="msg_AAbbCCddEEffGG11"),
            **at(0, 100),
        )
        _, other = self.pair(call=llm_call(response_id="msg_QQrrSSttUUvvWW22"))
        assert len(groups(one, other)) == 2

    def test_identical_prompts_in_parallel_stay_apart(self) -> None:
        outer = [facts(n, trace=n, scope="framework", service="shop", **at(n, 100 + n)) for n in (1, 2, 3)]
        inner = [facts(10 + n, trace=10 + n, scope="sdk", service="shop", **at(n + 1, 99 + n)) for n in (1, 2, 3)]
        found = groups(*outer, *inner)
        assert len(found) == 3
        assert all(len(group) == 2 for group in found)

    @pytest.mark.parametrize("traces", [1, 2])
    def test_equal_calls_in_parallel_of_which_one_record_lasts_longer(self, traces: int) -> None:
        # google-adk 1.10.0: `call_llm` lasts until the tools have run; a plug-in's span beside it does not.
        first = facts(1, parent=8, scope="plug-in", **at(0, 100)), facts(2, parent=8, scope="adk", **at(0, 300))
        second = (
            facts(3, trace=traces, parent=9, scope="plug-in", **at(20, 130)),
            facts(4, trace=traces, parent=9, scope="adk", **at(20, 330)),
        )
        assert groups(*first, *second) == [keys(*first), keys(*second)]

    def test_of_those_that_begin_together_one_has_the_same_parent(self) -> None:
        plug_ins = [facts(n, parent=n, scope="plug-in", **at(0, 100 + n)) for n in (1, 2)]
        own = [facts(10 + n, parent=n, scope="adk", **at(0, 104 - n)) for n in (1, 2)]
        assert groups(*plug_ins, *own) == sorted((keys(*pair) for pair in zip(plug_ins, own, strict=True)), key=sorted)

    def test_instrumentations_that_share_a_scope(self) -> None:
        # loongsuite-instrumentation-google-adk 0.9.0 beside google-adk's `call_llm`, and inside that -google-genai's or
        # -litellm's span: two of these three have the scope of the library that writes them.
        shared: dict[str, Any] = {"scope": "opentelemetry.util.genai.handler"}

        def agent(number: int) -> list[SpanFacts]:
            id_ = f"{SPECIFIC_ID}{number}"
            inner = llm_call(operation="generate_content", response_id=id_) if number % 2 else llm_call(response_id=id_)
            beside = facts(number, parent=number + 7, **shared, **at(number, 100 + number))
            own = facts(number + 1, parent=number + 7, scope="gcp.vertex.agent", **at(number, 150))
            return [beside, own, facts(number + 2, parent=number + 1, call=inner, **shared, **at(50, 99))]

        assert groups(*agent(10)) == [keys(*agent(10))]
        assert groups(*agent(10)[::2]) == [keys(*agent(10)[::2])]
        agents = [agent(number) for number in range(11, 91, 11)]
        found = groups(*(span for spans in agents for span in spans))
        assert sorted(found, key=sorted) == sorted((keys(*spans) for spans in agents), key=sorted)
        for of_one in zip(*agents, strict=True):  # what one of them saw alone
            for operation in ("chat", "generate_content"):
                alike = [replace(span, call=replace(call_of(span), operation=operation)) for span in of_one]
                assert len(groups(*alike)) == len(agents)
        some = [span for spans in agents for span in spans[: 2 if spans is agents[0] else 3]]
        assert len(groups(*some)) == len(agents)

    def test_one_id_from_instrumentations_that_share_a_scope(self) -> None:
        told = [
            llm_call(10, 5, operation="chat", response_id=SPECIFIC_ID),
            llm_call(10, 12, operation="generate_content", response_id=SPECIFIC_ID),
        ]
        spans = [facts(n, scope="opentelemetry.util.genai.handler", call=call) for n, call in enumerate(told, start=1)]
        assert groups(*spans) == [keys(*spans)]
        assert len(groups(*(replace(span, scope="sdk") for span in spans))) == 2

    @given(st.lists(st.lists(st.tuples(*[st.integers(1, 300)] * 3), min_size=1, max_size=3), max_size=6))
    def test_agents_in_parallel(self, agents: list[list[tuple[int, int, int]]]) -> None:
        """Each makes some calls of equal counts one after the other, which two instrumentations see side by side."""
        pairs: list[tuple[SpanFacts, SpanFacts]] = []
        for parent, calls in enumerate(agents, start=100):
            now = 0
            for wait, lasts, tools in calls:
                start, end = now + wait, now + wait + lasts
                now = end + tools + 6  # beyond the clocks' slack
                own = facts(2 * len(pairs) + 1, parent=parent, scope="adk", **at(start, end + tools))
                pairs.append((facts(2 * len(pairs) + 2, parent=parent, scope="plug-in", **at(start, end)), own))
        seen_by_both = [span for pair in pairs for span in pair]
        assert sorted(groups(*seen_by_both), key=sorted) == sorted((keys(*pair) for pair in pairs), key=sorted)
        seen_by_one = [span for span, _ in pairs]
        assert len(groups(*seen_by_one)) == len(pairs)

    def test_a_report_on_an_earlier_call(self) -> None:
        # Logfire puts a stream's usage on a log-like span after it.
        report = facts(
            1, trace=1, scope="logfire", service="shop", call=llm_call(looks_back_ns=60_000 * MS), **at(300, 300)
        )
        call = facts(2, trace=2, scope="sdk", service="shop", **at(0, 100))
        assert groups(report, call) == [keys(report, call)]

    def test_the_bond_is_told(self) -> None:
        one, other = self.pair()
        [group] = group_calls(traces(one, other)).groups
        assert set(group.bonds.values()) == {Bond.SIDE_BY_SIDE}


def test_the_order_does_not_matter() -> None:
    spans = [
        facts(1, scope="framework", service="shop", **at(0, 100)),
        facts(2, parent=1, scope="sdk", service="shop", **at(10, 90)),
        facts(3, trace=3, scope="sdk", service="shop", **at(12, 92)),
        facts(4, trace=4, scope="other", service="shop", **at(0, 101)),
    ]
    expected = groups(*spans)
    for turn in range(len(spans)):
        assert groups(*spans[turn:], *spans[:turn]) == expected
        assert groups(*reversed(spans[turn:] + spans[:turn])) == expected


class TestNotTransitive:
    """A span without an id must not make one call of two that have different ones."""

    def test_two_provider_ids(self) -> None:
        first = facts(
            1, trace=1, scope="a", service="s", call=llm_call(response_id="msg_AAbbCCddEEffGG11"), **at(0, 100)
        )
        between = facts(2, trace=2, scope="b", service="s", **at(1, 99))
        second = facts(
            3, trace=3, scope="c", service="s", call=llm_call(response_id="msg_QQrrSSttUUvvWW22"), **at(2, 98)
        )
        found = groups(first, between, second)
        assert len(found) == 2
        assert not any(keys(first, second) <= group for group in found)

    def test_two_tenants(self) -> None:
        first = facts(1, trace=1, scope="a", service="s", tenant="acme", **at(0, 100))
        between = facts(2, trace=2, scope="b", service="s", **at(1, 99))
        second = facts(3, trace=3, scope="c", service="s", tenant="globex", **at(2, 98))
        assert not any(keys(first, second) <= group for group in groups(first, between, second))
