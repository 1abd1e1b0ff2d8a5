"""Spring AI's observations, as Micrometer's tracing bridge sends them.

Source: spring-ai 1.1.8 and 2.0.2, spring-ai-model, chat/observation/DefaultChatModelObservationConvention.java and
embedding/observation: all values are texts, absent ones `none`, or `null` where a count is; operations `chat`,
`embedding`, `image`, and `framework` for chat clients and advisors, which have no counts; provider names of its own
(observation/conventions/AiProvider.java). The scope is the bridge's, Spring Boot's (org.springframework.boot).
Anthropic's chat model leaves cached tokens out of the input and of the total.

Up to 1.x (Spring Boot 3) a chat model runs tools itself and calls again, each time with an observation beside the last
one; spring-ai-model, support/UsageCalculator.java, getCumulativeUsage: each reports the usage of those before it, too
(captured with 1.1.2: finish reason `TOOL_CALLS`, Anthropic's `tool_use`). The scope's version is Spring Boot's.
"""

from dataclasses import replace

from spanmeter.usage.call import LlmCall, Role, Usage
from spanmeter.usage.dialects import otel_genai
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.dialects.otel_genai import COUNTS, make_call, read_counts
from spanmeter.usage.dialects.provider_names import semconv_provider
from spanmeter.usage.span import Attributes, Span
from spanmeter.usage.values import text, truth, version

NAME = "spring-ai"
SCOPE = "org.springframework.boot"
_OPERATIONS = {"chat": "chat", "embedding": "embeddings", "text_completion": "text_completion", "image": "image"}
_ABSENT = ("none", "null")
_FRAMEWORK = "spring_ai"
_TOTAL_WITHOUT_CACHE = "anthropic"
_FINISH_REASONS = "gen_ai.response.finish_reasons"
_TOOLS_WANTED = ("tool_calls", "tool_use", "toolcalls", "tool_call")
_SUMS_UNTIL = (4,)


def recognise(span: Span) -> LlmCall | None:
    if span.scope.name != SCOPE:
        return None
    span = replace(span, attributes={key: value for key, value in span.attributes.items() if value not in _ABSENT})
    attributes = span.attributes
    provider = text(attributes, "gen_ai.provider.name", "gen_ai.system")
    usage, problem = _read(attributes, provider)
    operation = text(attributes, "gen_ai.operation.name")
    has_counts = usage is not None or bool(problem)
    if operation not in _OPERATIONS and not has_counts:
        return None
    if operation == "image" and not has_counts:
        return None  # paid by the picture
    is_call = operation in _OPERATIONS or not operation
    return make_call(
        span,
        dialect=NAME,
        role=Role.CALL if is_call else Role.AGGREGATE,
        usage=usage,
        problem=problem,
        provider="" if provider == _FRAMEWORK else semconv_provider(provider),
        operation=_OPERATIONS.get(operation, operation),
        reason="" if is_call else f"operation {operation}",
        streamed=truth(attributes, "gen_ai.request.stream"),
        carried_on=is_call and _is_carried_on(span),
    )


def _is_carried_on(span: Span) -> bool:
    reasons = span.attributes.get(_FINISH_REASONS)
    shown = str(reasons).lower()  # a text, or a list of them
    return version(span.scope.version) < _SUMS_UNTIL and any(reason in shown for reason in _TOOLS_WANTED)


def _read(attributes: Attributes, provider: str) -> tuple[Usage | None, str]:
    if provider == _TOTAL_WITHOUT_CACHE:
        return read_counts(attributes, replace(COUNTS, total=()), cache_included=False)
    return read_counts(attributes)


DIALECT = Dialect(
    name=NAME, keys=otel_genai.KEYS | {_FINISH_REASONS}, markers=otel_genai.DIALECT.markers, recognise=recognise
)
