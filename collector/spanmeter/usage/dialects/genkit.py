"""Genkit: the reply of a model action as JSON in `genkit:output`.

Source: @genkit-ai/core 1.42.0 lib/tracing/instrumentation.js and lib/action.js (tracer `genkit-tracer`, attributes
`genkit:…`); @genkit-ai/ai 1.42.0 lib/model-types.js, GenerationUsageSchema. The flows and utilities around a model
action have the same reply as their output, and are no calls. The Google plug-ins count candidates without thoughts.
"""

from spanmeter.usage.call import LlmCall, Role
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.dialects.otel_genai import CountNames, make_call, read_counts
from spanmeter.usage.dialects.provider_names import semconv_provider
from spanmeter.usage.span import Span
from spanmeter.usage.values import json_object, text

NAME = "genkit"
_SUBTYPE = "genkit:metadata:subtype"
_MODEL = "genkit:name"
_OUTPUT = "genkit:output"
_COUNTS = CountNames(
    input=("inputTokens",),
    output=("outputTokens",),
    cache_read=("cachedContentTokens",),
    reasoning=("thoughtsTokens",),
    total=("totalTokens",),
)


def recognise(span: Span) -> LlmCall | None:
    if text(span.attributes, _SUBTYPE) != "model":
        return None
    plugin, _, model = text(span.attributes, _MODEL).rpartition("/")
    usage, problem = read_counts(json_object(json_object(span.attributes.get(_OUTPUT)).get("usage")), _COUNTS)
    return make_call(
        span,
        dialect=NAME,
        role=Role.CALL,
        usage=usage,
        problem=problem,
        operation="chat",
        provider=semconv_provider(plugin),
        request_model=model,
    )


DIALECT = Dialect(
    name=NAME,
    keys=frozenset({_SUBTYPE}),
    markers=("genkit:metadata:",),
    context=frozenset({_MODEL, _OUTPUT}),
    recognise=recognise,
)
