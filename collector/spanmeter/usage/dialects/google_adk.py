"""Google Agent Development Kit's own spans.

Source: google-adk 0.5.0 to 2.13.0, telemetry.py, later telemetry/tracing.py, _token_usage.py and _schema_version.py:
up to 1.2x one `call_llm` a request, then until telemetry schema 2 (2.4, the default) `call_llm` around
`generate_content` with the same counts, then `generate_content` alone. The counts: 1.5 to 1.8 write the total as
output; 1.9 to 2.2 the candidates, without thoughts, which `call_llm` has apart since 1.27; 2.3 candidates and thoughts.
`call_llm` has the reply as JSON, with the usage metadata in full (unless ADK_CAPTURE_MESSAGE_CONTENT_IN_SPANS is off,
since 1.17). models/lite_llm.py, 2.0.0 to 2.13.0, passes the completion's tokens, reasoning included, as candidates and
the reasoning as thoughts.
ADK for JavaScript, @google/adk 2.0.0 dist/esm/telemetry/tracing.js, traceCallLlm, has a scope of the same name and
versions of its own: `call_llm` with the candidates for output, and the thoughts in the reply only, whose members are
named in camel case.
openinference-instrumentation-google-adk 1.0.5 keeps `call_llm` from being made and has each call write its usage onto
the span around it, `invoke_agent`, which ends up with the last one's and with `generate_content` for an operation.
"""

from dataclasses import replace

from spanmeter.usage.call import LlmCall, Role, Usage
from spanmeter.usage.dialects import otel_genai
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.dialects.otel_genai import COUNTS, CountNames, make_call, read_counts
from spanmeter.usage.dialects.provider_names import semconv_provider
from spanmeter.usage.dialects.reply_usage import read_reply_usage
from spanmeter.usage.span import Span
from spanmeter.usage.values import BadCountError, count, json_object, text, version

NAME = "google-adk"
SCOPE = "gcp.vertex.agent"
_REPLY = "gcp.vertex.agent.llm_response"
_LANGUAGE = "telemetry.sdk.language"
_COUNTS = CountNames(
    input=("gen_ai.usage.input_tokens",),
    output=("gen_ai.usage.output_tokens",),
    cache_read=COUNTS.cache_read,
    cache_write=COUNTS.cache_write,
    reasoning=("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.experimental.reasoning_tokens"),
)
_THOUGHTS_INCLUDED_SINCE = (2, 3)


def recognise(span: Span) -> LlmCall | None:
    if span.scope.name != SCOPE:
        return None
    name = span.name.partition(" ")[0]
    if name == "generate_content":
        usage, problem, estimated = _counts_of_content(span)
    elif name == "call_llm":
        usage, problem, estimated = _counts_of_call(span)
    else:
        return _overwritten(span)
    return make_call(
        span,
        dialect=NAME,
        role=Role.CALL,
        usage=usage,
        problem=problem,
        estimated=estimated and usage is not None,
        provider=_provider(span),
        operation="generate_content",
    )


def _counts_of_content(span: Span) -> tuple[Usage | None, str, bool]:
    if _excludes_thoughts(span):
        # Whether the model thought is not on this span; `call_llm` around it knows.
        usage, problem = read_counts(span.attributes, _COUNTS, reasoning_included=False)
        return usage, problem, True
    usage, problem = read_counts(span.attributes, _COUNTS)
    if usage is not None and "/" in text(span.attributes, "gen_ai.request.model") and _is_litellm(span):
        usage = replace(usage, output=max(usage.output - usage.reasoning, 0))
    return usage, problem, False


def _counts_of_call(span: Span) -> tuple[Usage | None, str, bool]:
    reply = json_object(span.attributes.get(_REPLY))
    usage, problem = read_reply_usage(json_object(reply.get("usage_metadata") or reply.get("usageMetadata")))
    if usage is not None or problem:
        return usage, problem, False
    if text(span.resource, _LANGUAGE) == "nodejs":
        usage, problem = read_counts(span.attributes, _COUNTS)
        return usage, problem, True  # whether the model thought is nowhere else
    if span.scope.version:
        if _excludes_thoughts(span):
            usage, problem = read_counts(span.attributes, _COUNTS, reasoning_included=False)
            return usage, problem, False
        return _counts_of_content(span)
    return _counts_of_early_call(span)


def _counts_of_early_call(span: Span) -> tuple[Usage | None, str, bool]:
    """Before the scope had a version (1.17): the output is the total or, since 1.9, the candidates. A total is no less
    than the input; where it might be either, it is not known which."""
    usage, problem = read_counts(span.attributes, _COUNTS)
    try:
        may_be_total = (count(span.attributes, *_COUNTS.output) or 0) >= (count(span.attributes, *_COUNTS.input) or 0)
    except BadCountError as error:
        return None, str(error), False
    return usage, problem, may_be_total


def _excludes_thoughts(span: Span) -> bool:
    known = version(span.scope.version)
    return bool(known) and known < _THOUGHTS_INCLUDED_SINCE


def _is_litellm(span: Span) -> bool:
    """A model of LiteLLM's carries its provider before a slash; a resource path begins with `projects` and the like."""
    prefix = text(span.attributes, "gen_ai.request.model").partition("/")[0].lower()
    return prefix not in {"projects", "publishers", "models", "locations", "endpoints", "tunedmodels", "apigee"}


def _overwritten(span: Span) -> LlmCall | None:
    usage, problem = read_counts(span.attributes)
    if usage is None and not problem:
        return None
    return make_call(
        span,
        dialect=NAME,
        role=Role.AGGREGATE,
        usage=usage,
        problem=problem,
        reason="an agent's span that each of its calls overwrites with its own usage",
        sole_source=True,
        provider=_provider(span),
    )


def _provider(span: Span) -> str:
    provider = text(span.attributes, "gen_ai.provider.name", "gen_ai.system")
    if provider == SCOPE:  # ADK itself, on `call_llm`
        # semconv's name for Google where it is not known which of its services.
        return "gcp.gen_ai" if text(span.attributes, "gen_ai.request.model").startswith("gemini") else ""
    return semconv_provider(provider)


DIALECT = Dialect(
    name=NAME,
    keys=otel_genai.KEYS | _COUNTS.keys() | {_REPLY},
    markers=(*otel_genai.DIALECT.markers, _REPLY),
    context=frozenset({_LANGUAGE}),
    recognise=recognise,
)
