"""Haystack's own tracing, with content: the `meta` of a generator's replies and of an embedder's result.

Source: haystack-ai 3.4.1 core/pipeline/base.py (span `haystack.component.run`; the output only with
HAYSTACK_CONTENT_TRACING_ENABLED), tracing/utils.py coerce_tag_value (JSON), dataclasses/chat_message.py,
components/generators (`meta` has `model` and the provider's `usage`; every reply of one request has the same `usage`)
and components/embedders (`meta` of the whole). Without content there are no counts and no model: such spans stay
what they are, since any component may be called Generator.
"""

from collections.abc import Mapping

from spanmeter.usage.call import LlmCall, Role
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.dialects.otel_genai import make_call
from spanmeter.usage.dialects.reply_usage import read_reply_usage
from spanmeter.usage.span import AttributeValue, Span
from spanmeter.usage.values import json_object, text

NAME = "haystack"
_TYPE = "haystack.component.type"
_OUTPUT = "haystack.component.output"
_PROVIDERS = {
    "AmazonBedrock": "aws.bedrock",
    "Anthropic": "anthropic",
    "Azure": "azure.ai.openai",
    "Cohere": "cohere",
    "GoogleGenAI": "gcp.gemini",
    "Mistral": "mistral_ai",
    "Ollama": "ollama",
    "OpenAI": "openai",
    "VertexAI": "gcp.vertex_ai",
}


def recognise(span: Span) -> LlmCall | None:
    component = text(span.attributes, _TYPE)
    if not component.endswith(("Generator", "Embedder")):
        return None
    meta = _meta(json_object(span.attributes.get(_OUTPUT)))
    usage, problem = read_reply_usage(json_object(meta.get("usage")))
    if usage is None and not problem:
        return None
    return make_call(
        span,
        dialect=NAME,
        role=Role.CALL,
        usage=usage,
        problem=problem,
        operation="embeddings" if component.endswith("Embedder") else "chat",
        provider=next((name for start, name in _PROVIDERS.items() if component.startswith(start)), ""),
        response_model=text(meta, "model"),
    )


def _meta(output: Mapping[str, AttributeValue]) -> Mapping[str, AttributeValue]:
    """The `meta` of the first reply of a chat generator, of a generator's parallel list, or of an embedder's result."""
    replies = output.get("replies")
    first = json_object(replies[0]) if isinstance(replies, list) and replies else {}
    meta = first.get("meta") or first.get("_meta") or output.get("meta")
    return json_object(meta[0] if isinstance(meta, list) and meta else meta)


DIALECT = Dialect(
    name=NAME,
    keys=frozenset({_TYPE}),
    markers=("haystack.component.type",),
    context=frozenset({_OUTPUT}),
    recognise=recognise,
)
