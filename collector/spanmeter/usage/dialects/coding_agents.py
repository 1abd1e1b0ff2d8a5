"""Coding agents that trace themselves: Claude Code, Codex, Gemini CLI.

Source: Claude Code 2.1.224 and 2.1.266 (docs, monitoring-usage.md, "Traces"; captured `claude_code.llm_request` spans:
bare names, ints since 2.1.122 and strings before, input without cached tokens); openai/codex codex-rs 0.137
(`handle_responses`, one a request, with the conventions' names and `codex.usage.*`; `session_task.turn`, the sum over a
turn, under `codex.turn.token_usage.*`; OpenAI's counts, so cached tokens and reasoning are included);
google-gemini/gemini-cli packages/core/src/telemetry/trace.ts and loggingContentGenerator.ts (operations `llm_call`,
`tool_call`, `agent_call`, …; the output is Gemini's candidates, thoughts are on no span).
"""

from spanmeter.usage.call import LlmCall, Role
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.dialects.otel_genai import COUNTS, IDENTITY_KEYS, CountNames, make_call, read_counts
from spanmeter.usage.dialects.provider_names import semconv_provider
from spanmeter.usage.span import Span
from spanmeter.usage.values import passed, text

_CLAUDE_CODE = "claude_code.llm_request"
_CLAUDE_COUNTS = CountNames(
    input=("input_tokens",),
    output=("output_tokens",),
    cache_read=("cache_read_tokens",),
    cache_write=("cache_creation_tokens",),
)
_CLAUDE_CONTEXT = frozenset({"input_tokens", "output_tokens", "model", "request_id"})

_CODEX_TURN = CountNames(
    input=("codex.turn.token_usage.input_tokens",),
    output=("codex.turn.token_usage.output_tokens",),
    cache_read=("codex.turn.token_usage.cached_input_tokens",),
    cache_write=("codex.turn.token_usage.cache_write_input_tokens",),
    reasoning=("codex.turn.token_usage.reasoning_output_tokens",),
    total=("codex.turn.token_usage.total_tokens",),
)
_CODEX_CALL = CountNames(
    input=COUNTS.input,
    output=COUNTS.output,
    cache_read=COUNTS.cache_read,
    cache_write=COUNTS.cache_write,
    reasoning=("codex.usage.reasoning_output_tokens", *COUNTS.reasoning),
    total=("codex.usage.total_tokens",),
)
_CODEX_REQUEST = "handle_responses"

_GEMINI_CLI = "gemini-cli"
_GEMINI_CALL = "llm_call"


def recognise_claude_code(span: Span) -> LlmCall | None:
    if span.name != _CLAUDE_CODE:
        return None
    usage, problem = read_counts(span.attributes, _CLAUDE_COUNTS, cache_included=False)
    return make_call(
        span,
        dialect="claude-code",
        role=Role.CALL,
        usage=usage,
        problem=problem,
        operation="chat",
        provider="anthropic",
        request_model=text(span.attributes, "gen_ai.request.model", "model"),
        response_id=passed(span.attributes, "gen_ai.response.id", "request_id"),
        streamed=True,
    )


def recognise_codex(span: Span) -> LlmCall | None:
    """A turn is billed where the requests under it have no counts, as in versions that put them on turns only."""
    turn, turn_problem = read_counts(span.attributes, _CODEX_TURN)
    if turn is not None or turn_problem:
        return make_call(
            span,
            dialect="codex",
            role=Role.AGGREGATE,
            usage=turn,
            problem=turn_problem,
            reason="a turn's sum over its requests",
            provider="openai",
            sole_source=True,
        )
    if span.name != _CODEX_REQUEST and not any(key in span.attributes for key in _CODEX_CALL.total):
        return None
    usage, problem = read_counts(span.attributes, _CODEX_CALL)
    if usage is None and not problem:
        return None
    return make_call(
        span,
        dialect="codex",
        role=Role.CALL,
        usage=usage,
        problem=problem,
        operation="chat",
        provider="openai",
        streamed=True,
    )


def recognise_gemini_cli(span: Span) -> LlmCall | None:
    if span.scope.name != _GEMINI_CLI:
        return None
    usage, problem = read_counts(span.attributes)
    operation = text(span.attributes, "gen_ai.operation.name")
    if operation == _GEMINI_CALL:
        role, reason = Role.CALL, ""
    elif usage is not None or problem:
        role, reason = Role.AGGREGATE, f"operation {operation}"
    else:
        return None
    return make_call(
        span,
        dialect="gemini-cli",
        role=role,
        usage=usage,
        problem=problem,
        reason=reason,
        operation="generate_content" if role is Role.CALL else operation,
        provider=semconv_provider(text(span.attributes, "gen_ai.provider.name", "gen_ai.system")) or "gcp.gemini",
    )


CLAUDE_CODE = Dialect(
    name="claude-code",
    keys=IDENTITY_KEYS | {"cache_read_tokens", "cache_creation_tokens"},
    markers=("gen_ai.", "cache_read_tokens", "cache_creation_tokens"),
    recognise=recognise_claude_code,
    context=_CLAUDE_CONTEXT,
)
CODEX = Dialect(
    name="codex",
    keys=IDENTITY_KEYS | _CODEX_CALL.keys() | _CODEX_TURN.keys(),
    markers=("gen_ai.", "codex."),
    recognise=recognise_codex,
)
GEMINI_CLI = Dialect(
    name="gemini-cli", keys=IDENTITY_KEYS | COUNTS.keys(), markers=("gen_ai.",), recognise=recognise_gemini_cli
)
