"""Strands Agents' own spans.

Source: strands-agents 0.1.0, 1.10.0, 1.40.0 and 1.62.0, telemetry/tracer.py: a `chat` span (0.1: `Model invoke`, no
operation) a request, each count under two or three names; the agent's span with the counts of the Agent object's
whole life, so that its second invocation reports the first one's too (1.62: unless `_use_latest_invocation_tokens`);
`strands-agents` stands where the provider should. telemetry/metrics.py, _total_prompt_tokens: since the cached tokens
have their semantic-convention names the input includes them; before, it is the model's `inputTokens`, which includes
them where it and the output make up the total.
"""

from spanmeter.usage.call import LlmCall, Role
from spanmeter.usage.dialects import otel_genai
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.dialects.otel_genai import make_call, read_counts
from spanmeter.usage.span import Span
from spanmeter.usage.values import text

NAME = "strands"
_SYSTEM = "strands-agents"
_SCOPES = ("strands.telemetry.tracer", _SYSTEM)
_INCLUDING_CACHE = ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_creation.input_tokens")
_EXCLUDING_CACHE = ("gen_ai.usage.cache_read_input_tokens", "gen_ai.usage.cache_write_input_tokens")


def recognise(span: Span) -> LlmCall | None:
    system = text(span.attributes, "gen_ai.provider.name", "gen_ai.system")
    if span.scope.name not in _SCOPES and system != _SYSTEM:
        return None
    old_names_only = any(key in span.attributes for key in _EXCLUDING_CACHE) and not any(
        key in span.attributes for key in _INCLUDING_CACHE
    )
    usage, problem = read_counts(span.attributes, cache_included=not old_names_only)
    operation = text(span.attributes, "gen_ai.operation.name")
    provider = "" if system == _SYSTEM else system
    if operation == "chat" or (not operation and span.name == "Model invoke"):
        return make_call(
            span, dialect=NAME, role=Role.CALL, usage=usage, problem=problem, provider=provider, operation="chat"
        )
    if usage is None and not problem:
        return None
    return make_call(
        span,
        dialect=NAME,
        role=Role.AGGREGATE,
        usage=usage,
        problem=problem,
        provider=provider,
        reason="sum over the agent's life, earlier invocations included",
    )


DIALECT = Dialect(name=NAME, keys=otel_genai.KEYS, markers=otel_genai.DIALECT.markers, recognise=recognise)
