"""OpenTelemetry's GenAI semantic conventions, all versions since 1.26.

Source: semantic-conventions v1.26.0 to v1.41.1, docs/gen-ai/gen-ai-spans.md and model/gen-ai/registry.yaml (1.26
called the counts `prompt_tokens` and `completion_tokens`, 1.37 renamed `gen_ai.system` to `gen_ai.provider.name`, 1.40
added the cache and 1.41 the reasoning counts); semantic-conventions-genai renamed `cache_creation` to
`cache_write` (changelog 440); opentelemetry-util-genai 1.3b0 _inference_invocation.py.
"""

from spanmeter.usage.call import LlmCall, Role, Usage
from spanmeter.usage.counting import disjoint
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.span import Span
from spanmeter.usage.values import BadCountError, count, text

INPUT = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
OUTPUT = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
CACHE_READ = ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens")
CACHE_WRITE = (
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "gen_ai.usage.cache_write_input_tokens",
)
REASONING = ("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens")
TOTAL = ("gen_ai.usage.total_tokens",)
PROVIDER = ("gen_ai.provider.name", "gen_ai.system")

CALLS = frozenset({"chat", "generate_content", "text_completion", "embeddings"})
# registry.yaml, gen_ai.operation.name: operations that wrap model calls and may repeat their sum.
AGGREGATES = frozenset({"invoke_agent", "create_agent", "invoke_workflow", "plan"})
# Operations that reach no model, or none anew. `fetch_response` reads a stored response: semconv-genai says that
# instrumentations should not report usage on it; token counting endpoints report what a call would have used.
IGNORED = frozenset({"execute_tool", "retrieval", "rerank", "count_tokens", "tokenize", "fetch_response"})


def recognise(span: Span) -> LlmCall | None:
    """An operation of the conventions, or any span with their usage counts."""
    attributes = span.attributes
    operation = text(attributes, "gen_ai.operation.name")
    usage, problem = _usage(span)
    has_counts = usage is not None or bool(problem)
    reason = ""
    if operation in AGGREGATES or operation in IGNORED:
        if not has_counts:
            return None
        role = Role.AGGREGATE if operation in AGGREGATES else Role.IGNORED
        reason = f"operation {operation}"
    elif operation in CALLS or has_counts:
        role = Role.CALL
    else:
        return None
    return LlmCall(
        role=role,
        dialect=DIALECT.name,
        operation=operation,
        provider=text(attributes, *PROVIDER),
        request_model=text(attributes, "gen_ai.request.model"),
        response_model=text(attributes, "gen_ai.response.model"),
        response_id=text(attributes, "gen_ai.response.id"),
        usage=usage,
        problem=problem,
        reason=reason,
        streamed=attributes.get("gen_ai.request.stream") is True,
        is_error=span.is_error,
    )


def _usage(span: Span) -> tuple[Usage | None, str]:
    """Counts and, where they cannot be believed, why. Zero on both sides is none: failed calls have that."""
    attributes = span.attributes
    try:
        input_tokens = count(attributes, *INPUT)
        output_tokens = count(attributes, *OUTPUT)
        if not input_tokens and not output_tokens:
            return None, ""
        return (
            disjoint(
                input_tokens or 0,
                output_tokens or 0,
                cache_read=count(attributes, *CACHE_READ) or 0,
                cache_write=count(attributes, *CACHE_WRITE) or 0,
                reasoning=count(attributes, *REASONING) or 0,
                total=count(attributes, *TOTAL),
            ),
            "",
        )
    except BadCountError as error:
        return None, str(error)


DIALECT = Dialect(
    name="otel-genai",
    keys=frozenset(
        {
            "gen_ai.operation.name",
            "gen_ai.request.model",
            "gen_ai.request.stream",
            "gen_ai.response.model",
            "gen_ai.response.id",
            *INPUT,
            *OUTPUT,
            *CACHE_READ,
            *CACHE_WRITE,
            *REASONING,
            *TOTAL,
            *PROVIDER,
        }
    ),
    markers=("gen_ai.",),
    recognise=recognise,
)
