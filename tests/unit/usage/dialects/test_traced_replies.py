"""LangSmith, MLflow, Genkit and Haystack. Facts: see the dialects' docstrings."""

import json
from dataclasses import replace

import pytest

from spanmeter.usage.call import LlmCall, Role, Usage
from spanmeter.usage.span import Attributes, AttributeValue
from tests.unit.usage.dialects.spans import known, recognised, span_of

LANGSMITH: dict[str, AttributeValue] = {
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 20,
    "gen_ai.usage.total_tokens": 120,
}


def langsmith(kind: str, attributes: Attributes) -> LlmCall:
    return known(span_of("langsmith", "x", {"langsmith.span.kind": kind} | dict(attributes)))


def test_langsmith_s_details_are_python() -> None:
    details: dict[str, AttributeValue] = {
        "gen_ai.usage.input_token_details": "{'audio': 0, 'cache_read': 30, 'cache_creation': 4}",
        "gen_ai.usage.output_token_details": "{'reasoning': 5}",
        "langsmith.metadata.ls_provider": "amazon_bedrock",
    }
    call = langsmith("llm", LANGSMITH | details)
    assert call.usage == Usage(input=66, cache_read=30, cache_write=4, output=15, reasoning=5)
    assert (call.role, call.operation, call.provider) == (Role.CALL, "chat", "aws.bedrock")


def test_langsmith_s_details_may_be_in_the_metadata_only() -> None:
    """langsmith 0.15.1 on a run of langchain-openai's."""
    metadata = '{"input_tokens":100,"input_token_details":{"cache_read":40},"output_token_details":{"reasoning":5}}'
    call = langsmith("llm", LANGSMITH | {"langsmith.metadata.usage_metadata": metadata})
    assert call.usage == Usage(input=60, cache_read=40, output=15, reasoning=5)


def test_langsmith_s_cache_writes_by_lifetime() -> None:
    details: dict[str, AttributeValue] = {
        "gen_ai.usage.input_token_details": "{'cache_creation': 0, 'ephemeral_5m_input_tokens': 4}"
    }
    assert langsmith("llm", LANGSMITH | details).usage == Usage(input=96, cache_write=4, output=20)


def test_langsmith_s_details_may_be_anything() -> None:
    for text in ("{", "{'a': b}", "{1: 2}", "{'cache_read': None}", "[" * 5000, "{" * 5000):
        details: dict[str, AttributeValue] = {"gen_ai.usage.input_token_details": text}
        assert langsmith("llm", LANGSMITH | details).usage == Usage(input=100, output=20)


def test_langsmith_s_other_runs_repeat_counts_or_only_look_like_calls() -> None:
    assert langsmith("chain", LANGSMITH).role is Role.AGGREGATE
    assert langsmith("retriever", {"gen_ai.operation.name": "embeddings"}).role is Role.IGNORED
    assert langsmith("prompt", {"gen_ai.operation.name": "chat"}).role is Role.IGNORED
    assert recognised(span_of("langsmith", "x", {"langsmith.span.kind": "chain"})) is None


def test_langsmith_s_outputs_tell_the_id_and_the_cache() -> None:
    message = {"kwargs": {"response_metadata": {"id": "chatcmpl-1"}, "usage_metadata": {"total_cost": 0}}}
    outputs: dict[str, AttributeValue] = {"gen_ai.completion": json.dumps({"generations": [[{"message": message}]]})}
    call = langsmith("llm", LANGSMITH | outputs)
    assert (call.role, call.response_id) == (Role.IGNORED, "chatcmpl-1")


def mlflow(kind: str, counts: object, **more: str) -> LlmCall:
    attributes = {"mlflow.spanType": json.dumps(kind), "mlflow.chat.tokenUsage": json.dumps(counts)}
    named = {f"mlflow.llm.{name}": json.dumps(value) for name, value in more.items()}
    return known(span_of("mlflow.openai.autolog", "x", attributes | named))


def test_mlflow_s_texts_are_json() -> None:
    counts = {"input_tokens": 134, "output_tokens": 20, "total_tokens": 154, "cache_read_input_tokens": 30}
    call = mlflow("CHAT_MODEL", counts | {"cache_creation_input_tokens": 4}, model="gpt-4o", provider="mistral")
    assert call.usage == Usage(input=100, cache_read=30, cache_write=4, output=20)
    assert (call.role, call.response_model, call.provider) == (Role.CALL, "gpt-4o", "mistral_ai")


def test_mlflow_s_sums_may_be_the_only_record() -> None:
    call = mlflow("AGENT", {"input_tokens": 1, "output_tokens": 2})
    assert (call.role, call.sole_source) == (Role.AGGREGATE, True)
    assert recognised(span_of("mlflow", "x", {"mlflow.spanType": '"TOOL"'})) is None
    assert known(span_of("mlflow", "x", {"mlflow.spanType": '"EMBEDDING"'})).usage is None


def test_mlflow_s_gemini_leaves_thoughts_to_the_total() -> None:
    counts = {"input_tokens": 100, "output_tokens": 20, "total_tokens": 150}
    assert mlflow("LLM", counts, model="gemini-2.5-flash").usage == Usage(input=100, output=20, reasoning=30)


def test_genkit_s_model_actions() -> None:
    usage = {"inputTokens": 100, "outputTokens": 20, "thoughtsTokens": 30, "totalTokens": 150}
    attributes = {
        "genkit:type": "action",
        "genkit:metadata:subtype": "model",
        "genkit:name": "googleai/gemini-2.5-flash",
        "genkit:output": json.dumps({"message": {"content": []}, "usage": usage}),
    }
    call = known(span_of("genkit-tracer", "x", attributes))
    assert call.usage == Usage(input=100, output=20, reasoning=30)
    assert (call.provider, call.request_model) == ("gcp.gemini", "gemini-2.5-flash")
    assert recognised(span_of("genkit-tracer", "x", attributes | {"genkit:metadata:subtype": "util"})) is None


def haystack(component: str, output: object) -> Attributes:
    return {"haystack.component.type": component, "haystack.component.output": json.dumps(output)}


def test_haystack_s_generators_and_embedders() -> None:
    meta = {"model": "gpt-4o", "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}}
    chat = haystack("OpenAIChatGenerator", {"replies": [{"role": "assistant", "meta": meta}]})
    call = known(span_of("haystack", "haystack.component.run", chat))
    assert (call.usage, call.provider, call.response_model) == (Usage(input=100, output=20), "openai", "gpt-4o")
    plain = haystack("OpenAIGenerator", {"replies": ["text"], "meta": [meta]})
    assert known(span_of("haystack", "haystack.component.run", plain)).usage == call.usage
    embedded = haystack("OpenAITextEmbedder", {"embedding": [0.1], "meta": {"usage": {"prompt_tokens": 9}}})
    assert known(span_of("haystack", "haystack.component.run", embedded)).usage == Usage(input=9)


def test_haystack_without_content_has_no_call() -> None:
    for attributes in (
        {"haystack.component.type": "OpenAIChatGenerator"},
        haystack("PromptBuilder", {"meta": {"usage": {"prompt_tokens": 9}}}),
        haystack("OpenAIGenerator", {"replies": [], "meta": []}),
    ):
        assert recognised(span_of("haystack", "haystack.component.run", attributes)) is None


def test_mlflow_s_embeddings_are_counted_in_their_outputs_only() -> None:
    outputs = {"data": [], "model": "m", "usage": {"prompt_tokens": 12, "total_tokens": 12}}
    attributes = {"mlflow.spanType": '"EMBEDDING"', "mlflow.spanOutputs": json.dumps(outputs)}
    call = known(span_of("mlflow.tracing.provider", "Embeddings", attributes))
    assert (call.operation, call.usage) == ("embeddings", Usage(input=12))


@pytest.mark.parametrize(
    ("message_format", "took_ns", "role"),
    [
        ("langchain", 500_000, Role.IGNORED),
        ("langchain", 20_000_000, Role.CALL),
        ("openai", 500_000, Role.CALL),
    ],
)
def test_mlflow_shows_an_answer_from_langchain_s_cache_by_its_time_only(
    message_format: str, took_ns: int, role: Role
) -> None:
    attributes = {
        "mlflow.spanType": '"CHAT_MODEL"',
        "mlflow.message.format": json.dumps(message_format),
        "mlflow.chat.tokenUsage": '{"input_tokens": 7, "output_tokens": 2, "total_tokens": 9}',
    }
    span = span_of("mlflow.tracing.provider", "ChatOpenAI", attributes)
    assert known(replace(span, end_ns=span.start_ns + took_ns)).role is role
