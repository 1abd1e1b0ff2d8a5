"""OpenInference (Arize): its instrumentations for Python and JavaScript, and all that speaks its vocabulary.

Source: openinference-semantic-conventions 0.1.42 trace/__init__.py; openinference-instrumentation 0.1.72
_genai_conversion.py (on request the same counts once more under `gen_ai.*`); and of its instrumentations
- anthropic 3.1.0 (`messages.count_tokens` is of kind LLM), llama-index 4.6.1 _handler.py (every method of a model class
  is of kind LLM, also those that only prepare a request; a stream's span waits for the counts and then ends, by its
  time, when the method returned: before the request is sent, for the stream is a generator that nobody has begun);
- bedrock 0.1.40 to 0.1.58 _converse_attributes.py (prompt without cached tokens, AWS's total with them; from 0.1.61
  included), utils/_extract_invoke_model_attributes.py and _wrappers.py (Nova: as Converse, and streams have a total
  that is computed without them);
  the JavaScript one 0.5.1 never includes them, and names them for InvokeModel only;
- pipecat 2.0.9 _attributes.py (Pipecat's metrics: for Claude prompts without cached tokens, a total with them; cache
  writes have no name);
- claude-agent-sdk before 0.1.13 and the JavaScript one 0.3.1 (prompt and total without cached tokens); the calls are
  made by a subprocess, so that the AGENT span is the only record;
- agno 1.0.15 _model_wrapper.py (agno's own metrics: for Claude agno 3.1 passes on Anthropic's and Bedrock's counts, and
  a total without cached tokens);
- haystack 0.1.46 _wrappers.py, _get_output_attributes (the output of an embedder, whose counts are in none of the
  attributes, is in `output.value` with the vectors masked; haystack-ai 3.4.1 components/embedders: `meta.usage`);
- cohere 0.1.15 _response_attributes_extractor.py (counts of embeddings are in none of the attributes, either; there
  `output.value` is the reply; cohere 7.3.1 types/api_meta.py: `meta.billed_units`, in floating-point numbers);
- vertexai 0.1.29, langchain 0.1.80 and llama-index 4.6.1 (Gemini's candidates without thoughts);
- the processors for openlit, openllmetry, pydantic-ai, strands-agents, agent-framework and google-adk add their
  attributes to spans of another vocabulary: that one is believed, it knows what its spans are.
Guardrails (guardrails-ai 0.11.0 telemetry/runner_tracing.py, trace_call) writes the same names on spans of its own, all
of kind GUARDRAIL: of these `call` is one request to a model.
Envoy AI Gateway (c217da8 internal/tracing/openinference) adds the kind TOKEN_COUNTER and calls cache writes
`cache_creation`. `prompt_details.cache_input` is never read: the instrumentation for LiteLLM writes text tokens there.
"""

from dataclasses import dataclass, replace

from spanmeter.usage.call import LlmCall, Role, Usage
from spanmeter.usage.dialects import otel_genai
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.dialects.gemini import with_thoughts
from spanmeter.usage.dialects.otel_genai import CountNames, make_call, read_counts
from spanmeter.usage.dialects.provider_names import semconv_provider
from spanmeter.usage.dialects.reply_text import read_reply
from spanmeter.usage.dialects.reply_usage import read_output_meta
from spanmeter.usage.span import Span
from spanmeter.usage.values import count, json_object, text, version

NAME = "openinference"
_KIND = "openinference.span.kind"
_TOTAL = "llm.token_count.total"
COUNTS = CountNames(
    input=("llm.token_count.prompt", "decision.token_count.input"),
    output=("llm.token_count.completion", "decision.token_count.output"),
    cache_read=("llm.token_count.prompt_details.cache_read",),
    cache_write=(
        "llm.token_count.prompt_details.cache_write",
        "llm.token_count.prompt_details.cache_creation",
    ),
    reasoning=("llm.token_count.completion_details.reasoning",),
    total=(_TOTAL,),
)
_COUNTS_WITHOUT_TOTAL = replace(COUNTS, total=())

_CALLS = {"LLM": "chat", "EMBEDDING": "embeddings", "DECISION": "decide", "UNKNOWN": "", "": ""}
"""Kinds of spans that are calls where they bear counts, and their operation. Those of kind LLM and EMBEDDING are calls
in any case."""
_CALLS_WITHOUT_COUNTS = frozenset({"LLM", "EMBEDDING"})
_PYTHON_SCOPES = "openinference.instrumentation."
_JAVASCRIPT_SCOPES = "@arizeai/openinference-instrumentation-"
_OWN_SCOPES = (_PYTHON_SCOPES, "@arizeai/")
UNTIL_STREAM_IS_READ_NS = 1_000_000_000
_GUARDRAILS_CALL = ("guardrails-ai", "call")
_SOLE_SOURCES = ("claude_agent_sdk", "claude-agent-sdk")
_CLAUDE_SDK_INCLUDES_CACHE = (0, 1, 13)
_RAW_COUNTS = frozenset({"anthropic", "aws.bedrock", "gcp.vertex_ai"})
"""Providers of Claude. Their counts of the prompt are without cached tokens."""
_TOTALS_WITH_CACHE = frozenset({"bedrock", "pipecat"})
"""Packages that pass on a total with the cached tokens and do not name all of those: what it has beyond the others is
prompt."""
_COUNTS_IN_OUTPUT = frozenset({"cohere", "haystack"})
"""Packages whose spans of embeddings have their counts there."""

_PROVIDER_PACKAGES = {
    "anthropic": "anthropic",
    "bedrock": "aws.bedrock",
    "cohere": "cohere",
    "google_genai": "gcp.gemini",
    "groq": "groq",
    "mistralai": "mistral_ai",
    "ollama": "ollama",
    "openai": "openai",
    "together": "together",
    "vertexai": "gcp.vertex_ai",
}

_CONTEXT = frozenset(
    {
        "llm.model_name",
        "llm.request.model_name",
        "llm.response.model_name",
        "llm.provider",
        "llm.system",
        "llm.invocation_parameters",
        "embedding.model_name",
        "decision.model_name",
        "decision.provider",
        "output.value",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Maker:
    """Who wrote the span: the instrumented package, its instrumentation's version, the provider of the model."""

    package: str
    version: tuple[int, ...]
    provider: str
    model: str


def recognise(span: Span) -> LlmCall | None:
    attributes = span.attributes
    kind = text(attributes, _KIND).upper()
    if not kind and attributes.keys().isdisjoint(COUNTS.keys()):
        return None
    if _is_of_another_vocabulary(span):
        return None
    maker = _maker(span)
    usage, problem = _read_counts(span, maker)
    if not (usage or problem or kind in _CALLS_WITHOUT_COUNTS or kind == "TOKEN_COUNTER"):
        return None
    role, reason = _role(span, kind, maker)
    reply = read_reply(attributes.get("output.value")) if kind == "LLM" and role is Role.CALL else read_reply(None)
    if reply.from_cache:
        role, reason = Role.IGNORED, "answered from a cache"
    return make_call(
        span,
        dialect=NAME,
        role=role,
        usage=usage,
        problem=problem,
        reason=reason,
        provider=maker.provider,
        operation=_CALLS.get(kind, ""),
        request_model=text(attributes, "llm.request.model_name") or ("" if maker.model else _asked_for(span)),
        response_model=text(attributes, "llm.response.model_name") or maker.model,
        response_id=reply.response_id,
        streamed=reply.streamed or (usage is None and _is_stream(span)),
        sole_source=maker.package in _SOLE_SOURCES,
        looks_ahead_ns=UNTIL_STREAM_IS_READ_NS if maker.package == "llama_index" and "stream" in span.name else 0,
    )


def _is_of_another_vocabulary(span: Span) -> bool:
    """Whether the span was made by somebody else, who says of it in the conventions' words what it is."""
    return not span.scope.name.startswith(_OWN_SCOPES) and (
        bool(text(span.attributes, "gen_ai.operation.name"))
        or not span.attributes.keys().isdisjoint(otel_genai.COUNTS.keys())
    )


def _maker(span: Span) -> _Maker:
    package = ""
    for start in (_PYTHON_SCOPES, _JAVASCRIPT_SCOPES):
        if span.scope.name.startswith(start):
            package = span.scope.name.removeprefix(start).partition(".")[0]
    attributes = span.attributes
    provider = semconv_provider(text(attributes, "llm.provider", "decision.provider"))
    system = semconv_provider(text(attributes, "llm.system"))
    if not provider or (provider, system) == ("gcp.gemini", "gcp.vertex_ai"):
        provider = system
    return _Maker(
        package=package,
        version=version(span.scope.version),
        provider=provider or _PROVIDER_PACKAGES.get(package, ""),
        model=text(attributes, "llm.model_name", "embedding.model_name", "decision.model_name"),
    )


def _role(span: Span, kind: str, maker: _Maker) -> tuple[Role, str]:
    method = span.name.rpartition(".")[2]
    if kind == "TOKEN_COUNTER" or method.replace("_", "").lower() == "counttokens":
        return Role.IGNORED, "counts tokens, calls no model"
    if maker.package == "llama_index" and method.startswith("_prepare_"):
        return Role.IGNORED, "prepares a request"
    if kind in _CALLS or (span.scope.name, span.name) == _GUARDRAILS_CALL:
        return Role.CALL, ""
    return Role.AGGREGATE, f"kind {kind}"


def _read_counts(span: Span, maker: _Maker) -> tuple[Usage | None, str]:
    if _total_leaves_cache_out(span, maker):
        return read_counts(span.attributes, _COUNTS_WITHOUT_TOTAL, cache_included=False)
    usage, problem = read_counts(span.attributes, COUNTS, cache_included=not _prompt_leaves_cache_out(span, maker))
    if (
        usage is None
        and not problem
        and maker.package in _COUNTS_IN_OUTPUT
        and text(span.attributes, _KIND) == "EMBEDDING"
    ):
        return read_output_meta(span.attributes.get("output.value"))
    usage = with_thoughts(usage, span.attributes, total=_TOTAL, model=maker.model)
    if usage is not None and maker.package in _TOTALS_WITH_CACHE:
        total = count(span.attributes, _TOTAL) or 0
        usage = replace(usage, input=usage.input + max(total - usage.total, 0))
    return usage, problem


def _total_leaves_cache_out(span: Span, maker: _Maker) -> bool:
    """Whether cached tokens are in neither prompt nor total, which then proves nothing."""
    if maker.package == "claude_agent_sdk":
        return bool(maker.version) and maker.version < _CLAUDE_SDK_INCLUDES_CACHE
    if maker.package == "agno":
        return maker.provider in _RAW_COUNTS and "gemini" not in maker.model.lower()
    return maker.package == "bedrock" and span.name.startswith("bedrock.invoke_model") and "nova" in maker.model


def _prompt_leaves_cache_out(span: Span, maker: _Maker) -> bool:
    """Whether cached tokens are not in the prompt, if no total says otherwise."""
    if maker.package == "bedrock":
        return span.scope.name.startswith(_JAVASCRIPT_SCOPES)
    return maker.package == "pipecat" and maker.provider in _RAW_COUNTS


def _asked_for(span: Span) -> str:
    """The model among the parameters of the request: all that openinference-instrumentation-groq has of a stream."""
    return text(json_object(span.attributes.get("llm.invocation_parameters")), "model")


def _is_stream(span: Span) -> bool:
    """Asked only where there are no counts, to say why."""
    if "stream" in span.name.lower():
        return True
    return json_object(span.attributes.get("llm.invocation_parameters")).get("stream") is True


DIALECT = Dialect(
    name=NAME,
    keys=COUNTS.keys() | {_KIND},
    markers=("openinference.", "llm.token_count", "decision.token_count"),
    context=_CONTEXT | otel_genai.KEYS,
    recognise=recognise,
)
