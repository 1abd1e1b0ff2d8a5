"""OpenLLMetry (Traceloop), Python and JavaScript, and what speaks its vocabulary.

Source: opentelemetry-instrumentation-* 0.15.0 to 0.62.4 (github.com/traceloop/openllmetry, one package a provider),
opentelemetry-semantic-conventions-ai 0.4.1 to 0.5.1 (`gen_ai.usage.prompt_tokens` became `input_tokens`,
`llm.request.type` became `gen_ai.operation.name`, `llm.usage.*` became `gen_ai.usage.*`; before 0.4 the counts, too,
were `llm.usage.*`), @traceloop/instrumentation-* 0.27.0. What is particular:

- anthropic/streaming.py 0.40 to 0.62.4: a stream's output is message_start's count plus message_delta's, which already
  is the final one; up to 0.30 a stream's counts come from a tokenizer.
- bedrock/span_utils.py, converse_usage_record and _set_anthropic_messages_span_attributes, and
  @traceloop/instrumentation-anthropic and -bedrock: the input excludes cached tokens, and the total is the sum of the
  two counts, so it says nothing of them.
- bedrock/streaming_wrapper.py: of a Llama stream only the first chunk's counts are kept, and no stop reason with them.
- google_generativeai/span_utils.py, vertexai/span_utils.py: the output is Gemini's candidates; only the total has the
  thoughts.
- openai/shared/chat_wrappers.py up to 0.43.1: streams are counted by tiktoken; from 0.44.0 the reply's usage is read.
- langchain/callback_handler.py, on_llm_end: the response id comes from `llm_output`, which an answer from LangChain's
  own cache (langchain-core chat_models.py, _generate_with_cache) does not have.
- crewai/instrumentation.py: an agent's counts are its language model's since it was made; a crew's, all its agents'
  together, stand on its workflow as Python's text of CrewAI's UsageMetrics, and count a shared model twice.
- agno/__init__.py: an agent's or team's run reports its own metrics, also where no SDK beneath is instrumented.
- llamaindex/dispatcher_wrapper.py: every span is a workflow or a task, those of the language models included.
- watsonx/__init__.py: making a model and asking for its details are marked as requests, too.
"""

import re
from collections.abc import Iterable
from dataclasses import replace

from spanmeter.usage.call import LlmCall, Role, Usage
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.dialects.otel_genai import (
    AGGREGATES,
    CALLS,
    COUNTS,
    IDENTITY_KEYS,
    IGNORED,
    CountNames,
    make_call,
    read_counts,
)
from spanmeter.usage.dialects.provider_names import semconv_provider
from spanmeter.usage.dialects.reply_text import FASTEST_ANSWER_NS
from spanmeter.usage.span import Attributes, Span
from spanmeter.usage.values import BadCountError, count, passed, text, truth, version

NAME = "openllmetry"

_PYTHON = "opentelemetry.instrumentation."
_JAVASCRIPT = "@traceloop/instrumentation-"
_PACKAGES = frozenset(
    {
        "agno",
        "alephalpha",
        "anthropic",
        "bedrock",
        "cohere",
        "crewai",
        "google_generativeai",
        "groq",
        "haystack",
        "langchain",
        "litellm",
        "llamaindex",
        "mistralai",
        "ollama",
        "openai",
        "openai_agents",
        "replicate",
        "sagemaker",
        "together",
        "transformers",
        "vertexai",
        "voyageai",
        "watsonx",
        "writer",
    }
)
"""Contrib's deprecated openai-agents-v2 and vertexai have the same scopes as two of these, and the same meanings."""

_KIND = "traceloop.span.kind"
_REQUEST_TYPE = "llm.request.type"
_FINISH_REASONS = "gen_ai.response.finish_reasons"
_CREW_USAGE = "crewai.crew.token_usage"
_STREAMING = ("gen_ai.is_streaming", "llm.is_streaming")
_OLD_IDENTITY = ("llm.vendor", "llm.request.model", "llm.response.model")

_COUNTS = CountNames(
    input=(*COUNTS.input, "llm.usage.prompt_tokens"),
    output=(*COUNTS.output, "llm.usage.completion_tokens"),
    cache_read=(*COUNTS.cache_read, "llm.usage.cache_read_input_tokens"),
    cache_write=(*COUNTS.cache_write, "llm.usage.cache_creation_input_tokens"),
    reasoning=(*COUNTS.reasoning, "llm.usage.reasoning_tokens"),
    total=COUNTS.total,
)
_WITHOUT_TOTAL = replace(_COUNTS, total=())
_CREW_COUNTS = CountNames(
    input=("prompt_tokens",),
    output=("completion_tokens",),
    cache_read=("cached_prompt_tokens",),
    reasoning=("reasoning_tokens",),
)
_MEMBER = re.compile(r"(\w+)=(\d+)")

_CACHE_EXCLUDED = frozenset({"bedrock", "@anthropic", "@bedrock"})
_THOUGHTS_EXCLUDED = frozenset({"google_generativeai", "vertexai", "@google-generativeai", "@vertexai"})
_RUNS_AS_SOLE_SOURCE = frozenset({"agno"})
_REQUESTS = {"chat": "chat", "completion": "text_completion", "embedding": "embeddings"}
_NO_REQUESTS = frozenset({"watsonx.model_init", "watsonx.get_details"})
_TIKTOKEN_UNTIL = (0, 44)


def recognise(span: Span) -> LlmCall | None:
    package = _package(span.scope.name)
    attributes = span.attributes
    kind, request = text(attributes, _KIND), text(attributes, _REQUEST_TYPE)
    if not (package or kind or request) or span.name in _NO_REQUESTS:
        return None
    operation = text(attributes, "gen_ai.operation.name") or _REQUESTS.get(request, request)
    usage, problem = _read(attributes, package)
    role, reason = _role(operation, "" if package == "llamaindex" else kind)
    if usage is None and not problem and (role is not Role.CALL or operation not in CALLS):
        return None
    streamed = any(truth(attributes, key) for key in _STREAMING) or (package == "anthropic" and _ended_late(attributes))
    if role is Role.CALL and package == "langchain" and _from_cache(span, usage):
        role, reason = Role.IGNORED, "answered at once and without a response id: from LangChain's cache"
    return make_call(
        span,
        dialect=NAME,
        role=role,
        usage=usage,
        problem=problem,
        reason=reason,
        operation=operation,
        provider=semconv_provider(text(attributes, "gen_ai.provider.name", "gen_ai.system", "llm.vendor")),
        request_model=text(attributes, "gen_ai.request.model", "llm.request.model"),
        response_model=text(attributes, "gen_ai.response.model", "llm.response.model"),
        streamed=streamed,
        estimated=usage is not None and _is_estimate(span, package, streamed=streamed),
        sole_source=role is Role.AGGREGATE and package in _RUNS_AS_SOLE_SOURCE,
    )


def _package(scope: str) -> str:
    """`anthropic` of the Python packages, `@anthropic` of the JavaScript ones; empty for other scopes."""
    if scope.startswith(_JAVASCRIPT):
        return "@" + scope.removeprefix(_JAVASCRIPT)
    if scope.startswith(_PYTHON):
        package = scope.removeprefix(_PYTHON).partition(".")[0]
        return package if package in _PACKAGES else ""
    return ""


def _role(operation: str, kind: str) -> tuple[Role, str]:
    if kind in ("tool", "handoff") or operation in IGNORED:
        return Role.IGNORED, f"{kind or operation} span"
    if kind:
        return Role.AGGREGATE, f"{kind} span"
    if operation in AGGREGATES:
        return Role.AGGREGATE, f"operation {operation}"
    return Role.CALL, ""


def _read(attributes: Attributes, package: str) -> tuple[Usage | None, str]:
    if package == "crewai" and _CREW_USAGE in attributes:
        return read_counts(dict(_MEMBER.findall(text(attributes, _CREW_USAGE))), _CREW_COUNTS)
    if package in _CACHE_EXCLUDED:
        return read_counts(attributes, _WITHOUT_TOTAL, cache_included=False)
    if package in _THOUGHTS_EXCLUDED:
        return _read_gemini(attributes)
    return read_counts(attributes, _COUNTS)


def _read_gemini(attributes: Attributes) -> tuple[Usage | None, str]:
    """What the total has beyond prompt and candidates are thoughts (or, rarely, prompts of the provider's tools)."""
    usage, problem = read_counts(attributes, _WITHOUT_TOTAL)
    if usage is None:
        return usage, problem
    try:
        total = count(attributes, *_COUNTS.total) or 0
    except BadCountError as error:
        return None, str(error)
    thoughts = max(total - usage.total, 0)
    return replace(usage, reasoning=usage.reasoning + thoughts), ""


def _is_estimate(span: Span, package: str, *, streamed: bool) -> bool:
    if package == "anthropic":
        return streamed
    if package == "openai":
        known = version(span.scope.version)
        return streamed and bool(known) and known < _TIKTOKEN_UNTIL
    return (
        package == "bedrock"
        and "llama" in text(span.attributes, "gen_ai.request.model")
        and "gen_ai.operation.name" in span.attributes
        and _FINISH_REASONS not in span.attributes
    )


def _ended_late(attributes: Attributes) -> bool:
    """Whether the response's model was written after the counts. Streams of the SDK's helper (`messages.stream`) have
    no other mark: streaming.py, _set_token_usage sets the model last, span_utils.py, set_response_attributes sets it
    before the counts of a whole response. SDKs keep the order in which attributes were last set."""
    order = {key: place for place, key in enumerate(attributes)}
    model = order.get("gen_ai.response.model")
    counts = _first_place(order, _COUNTS.output)
    return model is not None and counts is not None and model > counts


def _first_place(order: dict[str, int], keys: Iterable[str]) -> int | None:
    return next((order[key] for key in keys if key in order), None)


def _from_cache(span: Span, usage: Usage | None) -> bool:
    return (
        usage is not None
        and not span.is_error
        and not passed(span.attributes, "gen_ai.response.id")
        and 0 < span.end_ns - span.start_ns < FASTEST_ANSWER_NS
    )


DIALECT = Dialect(
    name=NAME,
    keys=IDENTITY_KEYS
    | _COUNTS.keys()
    | {_KIND, _REQUEST_TYPE, _FINISH_REASONS, _CREW_USAGE, *_STREAMING, *_OLD_IDENTITY},
    markers=("gen_ai.", "llm.", "traceloop.span.", _CREW_USAGE),
    recognise=recognise,
)
