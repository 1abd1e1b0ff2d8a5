"""Logfire's instrumentations of LLM clients, and its placeholders for spans that have not ended.

Source: logfire 2.0.0 to 5.2.0 and logfire-sdk 6.0.0b8, _internal/integrations: llm_providers/llm_provider.py (the span
of a streamed request ends when the stream begins; what came of it is written afterwards, on a zero-length span of type
`log` in the context of the request, `duration` seconds after reading began); llm_providers/usage.py (the provider's
usage object in `gen_ai.usage.raw`, the only place with cached tokens and reasoning); anthropic.py sets no counts in
4.15 and `input_tokens` without cached ones in 4.30, both have the usage object in `response_data`; claude_agent_sdk.py
(the calls are made by a subprocess: its result gives the sum on `invoke_agent`, while the `chat` spans have shares that
Logfire itself calls unreliable, under `gen_ai.usage.partial.*`); openai_agents.py. _internal/tracer.py: a
`pending_span` repeats the first attributes of a span that is yet to be sent.
`logfire.metrics`, a sum over all spans below any span, is never read.
"""

import math
from collections.abc import Mapping

from spanmeter.usage.call import LlmCall, Role, Usage
from spanmeter.usage.dialects import otel_genai
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.dialects.otel_genai import COUNTS, make_call, read_counts
from spanmeter.usage.dialects.reply_usage import read_reply_usage
from spanmeter.usage.span import AttributeValue, Span
from spanmeter.usage.values import json_object, text

NAME = "logfire"
_CLIENTS = {"logfire.openai": "openai", "logfire.anthropic": "anthropic"}
_AGENTS_SDK = "logfire.openai_agents"
_CLAUDE_SDK = "logfire.claude_agent_sdk"

_RAW = "gen_ai.usage.raw"
_REPLY = "response_data"
_REQUEST = "request_data"
_SPAN_TYPE = "logfire.span_type"
_DURATION = "duration"

# Whatever instrumentation the span is of: Logfire's processor makes placeholders for all.
_LLM_KEYS = ("gen_ai.", "llm.", "openinference.", _REQUEST)

SECOND_NS = 1_000_000_000
_BEFORE_READING_NS = 60 * SECOND_NS
"""The log span comes after `duration`, which counts from the first read of the stream. Between the request and that
read, and between the last read and the log span, the application and Logfire's price look-up take their time."""
_MOST_SECONDS = 3600.0


def recognise(span: Span) -> LlmCall | None:
    span_type = text(span.attributes, _SPAN_TYPE)
    if span_type == "pending_span":
        is_llm = any(key.startswith(_LLM_KEYS) for key in span.attributes)
        return _ignored(span, "placeholder of a span that has not ended") if is_llm else None
    scope = span.scope.name
    if scope in _CLIENTS:
        return _client_call(span, provider=_CLIENTS[scope], logged=span_type == "log")
    if scope == _AGENTS_SDK:
        usage, problem = _usage(span, cache_included=True)
        return make_call(span, dialect=NAME, role=Role.CALL, usage=usage, problem=problem) if _has_call(span) else None
    return _claude_run(span) if scope == _CLAUDE_SDK else None


def _client_call(span: Span, *, provider: str, logged: bool) -> LlmCall | None:
    usage, problem = _usage(span, cache_included=provider != "anthropic")
    request = json_object(span.attributes.get(_REQUEST))
    answered = usage is not None or bool(problem) or span.is_error or _has_answer(span)
    if not logged and not answered:
        if not request and not _has_call(span):
            return None
        return _ignored(span, "request of a stream: its usage is on the log span that follows it")
    return make_call(
        span,
        dialect=NAME,
        role=Role.CALL,
        usage=usage,
        problem=problem,
        provider=text(span.attributes, "gen_ai.provider.name", "gen_ai.system") or provider,
        request_model=text(span.attributes, "gen_ai.request.model") or text(request, "model"),
        streamed=logged or request.get("stream") is True,
        looks_back_ns=_looks_back_ns(span) if logged else 0,
    )


def _usage(span: Span, *, cache_included: bool) -> tuple[Usage | None, str]:
    """The provider's own usage object where the span has it, else the counts."""
    for found in (span.attributes.get(_RAW), json_object(span.attributes.get(_REPLY)).get("usage")):
        reported: Mapping[str, AttributeValue] = json_object(found)
        usage, problem = read_reply_usage(reported)
        if usage is not None or problem:
            return usage, problem
    return read_counts(span.attributes, cache_included=cache_included or _RAW in span.attributes)


def _has_call(span: Span) -> bool:
    return any(key in span.attributes for key in ("gen_ai.operation.name", _REQUEST, _RAW, *COUNTS.input))


def _has_answer(span: Span) -> bool:
    """Not by `gen_ai.response.model`: Logfire fills that in from the request."""
    return "gen_ai.response.id" in span.attributes or _REPLY in span.attributes


def _looks_back_ns(span: Span) -> int:
    duration = span.attributes.get(_DURATION)
    seconds = float(duration) if isinstance(duration, int | float) and not isinstance(duration, bool) else 0.0
    if not math.isfinite(seconds):
        seconds = 0.0
    return int(min(max(seconds, 0.0), _MOST_SECONDS) * SECOND_NS) + _BEFORE_READING_NS


def _claude_run(span: Span) -> LlmCall | None:
    operation = text(span.attributes, "gen_ai.operation.name")
    if operation == "chat":
        return _ignored(span, "an unreliable share of its run, which has the sum")
    if operation != "invoke_agent":
        return None
    usage, problem = read_counts(span.attributes)
    return make_call(
        span,
        dialect=NAME,
        # Without a result there are no counts, but there were calls: unmetered ones.
        role=Role.CALL if usage is None else Role.AGGREGATE,
        usage=usage,
        problem=problem,
        reason="the sum over a run's calls, which no span counts" if usage is not None else "",
        sole_source=True,
    )


def _ignored(span: Span, reason: str) -> LlmCall:
    return make_call(span, dialect=NAME, role=Role.IGNORED, usage=None, reason=reason)


DIALECT = Dialect(
    name=NAME,
    keys=otel_genai.KEYS | {_RAW, _REPLY, _REQUEST},
    markers=("gen_ai.", "llm.usage.", _REPLY, _REQUEST),
    recognise=recognise,
    context=frozenset({_SPAN_TYPE, _DURATION}),
)
