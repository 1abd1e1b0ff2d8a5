"""OpenLIT.

Source: openlit 1.20.0 to 1.45.0, openlit/instrumentation/<package>/utils.py, semcov/__init__.py, __helpers.py. Every
integration has a scope of its own, `openlit.instrumentation.<package>`; before 1.45 all shared `openlit.otel.tracing`.

- __helpers.py, general_tokens: where a reply has no usage, half the characters of the texts are written under the same
  keys. openai/utils.py: a stream whose usage chunk came gets the cache counts, too, even if they are 0; one without
  gets none. Up to 1.34 streams of the OpenAI SDK were always estimated, except those of the Responses API.
- gpt4all, transformers, vllm: always estimated. ollama, langchain, oci_genai: embeddings are. claude_agent_sdk: a
  message's usage is what its stream began with, its output provisional.
- anthropic/utils.py, bedrock/utils.py: the input is the provider's, which excludes cached tokens. (langchain, litellm
  and pydo pass on sums that include them.)
- google_ai_studio/utils.py, google_adk/utils.py: the output is Gemini's candidates, the thoughts are apart. Under the
  shared scope (1.34.43) google_ai_studio calls the system `gemini`, where langchain, whose outputs include thoughts,
  says `google` or `langchain`.
- langchain/callback_handler.py, on_llm_end: an answer from LangChain's cache is a call like any other; it has no
  response id, and took no time.
- Agents, crews, graphs and steps repeat counts: crewai, smolagents and browser_use report all that the object has ever
  used, langgraph the last message's, claude_agent_sdk a sub-agent's total as its input. Those of one run only are
  agno's, pydantic_ai's and agent_framework's.
- The JavaScript one (openlit 1.15.0 dist/instrumentation/<package>/wrapper.js, scopes `@openlit/instrumentation-…`)
  reads the same: cached tokens excluded for anthropic and bedrock, thoughts apart for google-ai; it writes cache counts
  only above zero, so that a stream of the OpenAI SDK without any may be guessed. The SDK's calls come under the scope
  of vllm, which patches it too. huggingface, replicate and transformers are always estimated.
- Up to 1.33 the operation of embeddings was `embedding` (semcov/__init__.py, GEN_AI_TYPE_EMBEDDING).
"""

from spanmeter.usage.call import LlmCall, Role
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.dialects.otel_genai import (
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
from spanmeter.usage.span import Span
from spanmeter.usage.values import passed, text, truth

NAME = "openlit"

_SCOPE = "openlit."
_INTEGRATION = "openlit.instrumentation."
_JAVASCRIPT = "@openlit/instrumentation-"
_JAVASCRIPT_NAMES = {"google-ai": "google_ai_studio", "vllm": "openai"}
_COUNTS = CountNames(
    input=COUNTS.input,
    output=COUNTS.output,
    cache_read=COUNTS.cache_read,
    cache_write=COUNTS.cache_write,
    reasoning=(*COUNTS.reasoning, "gen_ai.usage.completion_tokens_details.reasoning_tokens"),
)
"""Without `gen_ai.usage.total_tokens`: where it is not the provider's it is the sum of the two counts beside it."""
_STREAMING = ("gen_ai.request.stream", "gen_ai.request.is_stream")

_API = "openai.api.type"
_FURTHER_CALLS = frozenset(
    {"audio", "image", "moderation", "realtime", "speech_to_text", "text_to_speech", "translate"}
)
_OLD_OPERATIONS = {"embedding": "embeddings"}
_CACHE_EXCLUDED = frozenset({"anthropic", "bedrock"})
_CACHE_EXCLUDED_PROVIDERS = frozenset({"anthropic", "aws.bedrock"})
_THOUGHTS_EXCLUDED = frozenset({"google_ai_studio", "google_adk"})
_THOUGHTS_EXCLUDED_SYSTEMS = frozenset({"gemini"})
_ALWAYS_ESTIMATED = frozenset({"claude_agent_sdk", "gpt4all", "huggingface", "replicate", "transformers", "vllm"})
_EMBEDDINGS_ESTIMATED = frozenset({"ollama", "langchain", "oci_genai"})
_RUNS_AS_SOLE_SOURCE = frozenset({"agent_framework", "agno", "pydantic_ai"})


def recognise(span: Span) -> LlmCall | None:
    scope = span.scope.name
    if not scope.startswith((_SCOPE, _JAVASCRIPT)):
        return None
    attributes = span.attributes
    integration = _integration(scope)
    named = text(attributes, "gen_ai.operation.name")
    operation = _OLD_OPERATIONS.get(named, named)
    system = text(attributes, "gen_ai.provider.name", "gen_ai.system")
    provider = semconv_provider(system)
    excluded = integration in _CACHE_EXCLUDED or (not integration and provider in _CACHE_EXCLUDED_PROVIDERS)
    usage, problem = read_counts(
        attributes,
        _COUNTS,
        cache_included=not excluded,
        reasoning_included=not (
            integration in _THOUGHTS_EXCLUDED or (not integration and system in _THOUGHTS_EXCLUDED_SYSTEMS)
        ),
    )
    role, reason = _role(operation)
    if role is Role.CALL and integration == "langchain" and usage is not None and _took_no_time(span):
        role, reason = Role.IGNORED, "answered at once and without a response id: from LangChain's cache"
    if usage is None and not problem and (role is not Role.CALL or operation not in CALLS):
        return None
    streamed = any(truth(attributes, key) for key in _STREAMING)
    return make_call(
        span,
        dialect=NAME,
        role=role,
        usage=usage,
        problem=problem,
        reason=reason,
        provider=provider,
        operation=operation,
        streamed=streamed,
        estimated=usage is not None
        and role is Role.CALL
        and _is_estimate(span, integration, operation=operation, provider=provider, streamed=streamed),
        sole_source=role is Role.AGGREGATE and integration in _RUNS_AS_SOLE_SOURCE,
    )


def _integration(scope: str) -> str:
    """The instrumented package by its Python name; empty under the scope that all once shared."""
    if scope.startswith(_JAVASCRIPT):
        package = scope.removeprefix(_JAVASCRIPT)
        return _JAVASCRIPT_NAMES.get(package, package.replace("-", "_"))
    return scope.removeprefix(_INTEGRATION).partition(".")[0] if scope.startswith(_INTEGRATION) else ""


def _role(operation: str) -> tuple[Role, str]:
    if operation in IGNORED:
        return Role.IGNORED, f"operation {operation}"
    if operation and operation not in CALLS and operation not in _FURTHER_CALLS:
        return Role.AGGREGATE, f"operation {operation}"
    return Role.CALL, ""


def _took_no_time(span: Span) -> bool:
    return (
        not span.is_error
        and not passed(span.attributes, "gen_ai.response.id")
        and 0 < span.end_ns - span.start_ns < FASTEST_ANSWER_NS
    )


def _is_estimate(span: Span, integration: str, *, operation: str, provider: str, streamed: bool) -> bool:
    if integration in _ALWAYS_ESTIMATED:
        return True
    if operation == "embeddings":
        return integration in _EMBEDDINGS_ESTIMATED
    by_openai_sdk = integration == "openai" or (not integration and provider in ("openai", "azure.ai.openai"))
    reported = any(key in span.attributes for key in (*COUNTS.cache_read, *COUNTS.reasoning))
    reported = reported or text(span.attributes, _API) == "responses"
    return by_openai_sdk and streamed and not reported


DIALECT = Dialect(
    name=NAME,
    keys=IDENTITY_KEYS | _COUNTS.keys() | set(_STREAMING),
    markers=("gen_ai.",),
    recognise=recognise,
    context=frozenset({_API}),
)
