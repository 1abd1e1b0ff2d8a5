"""Pipecat's own spans of its LLM services.

Source: pipecat-ai 0.0.80 and 1.14.0, utils/tracing/service_attributes.py and service_decorators.py: counts as the
service's metrics have them; services/anthropic/llm.py and services/aws/llm.py leave cached tokens out of
`prompt_tokens` (they add them to a total that no span has); services/google adds thoughts to the output. The provider
is the service class's name where no convention has one.
"""

from spanmeter.usage.call import LlmCall, Role
from spanmeter.usage.dialects import otel_genai
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.dialects.otel_genai import CALLS, make_call, read_counts
from spanmeter.usage.dialects.provider_names import semconv_provider
from spanmeter.usage.span import Span
from spanmeter.usage.values import text

NAME = "pipecat"
SCOPE = "pipecat"
_EXCLUDING_CACHE = ("anthropic", "aws.bedrock")


def recognise(span: Span) -> LlmCall | None:
    if span.scope.name != SCOPE:
        return None
    provider = text(span.attributes, "gen_ai.provider.name", "gen_ai.system")
    usage, problem = read_counts(span.attributes, cache_included=provider not in _EXCLUDING_CACHE)
    is_call = text(span.attributes, "gen_ai.operation.name") in CALLS
    if not is_call and usage is None and not problem:
        return None
    return make_call(
        span, dialect=NAME, role=Role.CALL, usage=usage, problem=problem, provider=semconv_provider(provider)
    )


DIALECT = Dialect(name=NAME, keys=otel_genai.KEYS, markers=otel_genai.DIALECT.markers, recognise=recognise)
