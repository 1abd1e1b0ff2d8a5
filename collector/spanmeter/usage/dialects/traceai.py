"""traceAI (Future AGI): the conventions' names, OpenInference's kinds of spans, and replies in `output.value`.

Source: fi-instrumentation-otel 1.1.0 fi_types.py (SpanAttributes, FiSpanKindValues); traceai-langchain 0.2.0,
-bedrock 0.1.10, -google-genai 0.1.2, -openai 0.1.10, -openai-agents 0.1.6, -anthropic 0.1.10, -groq 0.1.9, -litellm
0.1.10, -llamaindex 0.1.9, -haystack 0.1.9, -google-adk 0.1.5, -crewai 0.1.8, -autogen 0.2.0, -cohere, -ollama,
-strands and -pydantic-ai 0.1.0. No span has a response id, and all but Strands' no operation. What is particular:

- langchain/_tracer.py, _token_counts: the counts are the provider's own, which for Claude leave out what was read from
  and written to the cache, and no attribute has that. `output.value` is the LLMResult, with the provider's id, the mark
  of LangChain's cache, and LangChain's `usage_metadata`, which includes the cache for every provider.
- bedrock/__init__.py, _converse: AWS's prompt without cached tokens, and AWS's total with them. InvokeModel's prompt
  for Claude includes them; there the maker of the model stands for the provider.
- google_genai/_stream.py: the output of streams is Gemini's candidates; the total has the thoughts.
- anthropic/_wrappers.py: prompts without cached tokens, which nothing on the span has; `MessagesCountTokens` is of kind
  LLM and reports what a call would have used.
- openai_agents/_processor.py: `turn` and the workflow repeat the counts of calls below them, as CHAIN and AGENT;
  `gen_ai.request.parameters` is the response without its output, its id among them.
- pydantic_ai/_agent_wrapper.py, autogen/_v04_wrapper.py, crewai/_wrappers.py: one span for a run of an agent, a team or
  a crew, with the run's sum, and no kind, or one that is no text and so does not arrive.
- google_adk/__init__.py, _wrappers.py: ADK's `call_llm` under this scope; where ADK makes none (since telemetry schema
  2), each call writes its usage and the kind LLM onto the agent's span.
- llamaindex/_handler.py and haystack/_wrappers.py are OpenInference's of old: every method of a model's class is of
  kind LLM, also those that only prepare a request; streams end when the method returned; an embedder's counts are in
  its output; and a prompt builder is of kind LLM.
- litellm/__init__.py: a model that is no keyword argument is called `unknown_model`.
"""

from dataclasses import replace

from spanmeter.usage.call import LlmCall, Role, Usage
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.dialects.gemini import with_thoughts
from spanmeter.usage.dialects.openinference import UNTIL_STREAM_IS_READ_NS
from spanmeter.usage.dialects.otel_genai import IDENTITY_KEYS, CountNames, make_call, read_counts
from spanmeter.usage.dialects.provider_names import semconv_provider
from spanmeter.usage.dialects.reply_text import Reply, read_langchain_reply, read_reply
from spanmeter.usage.dialects.reply_usage import read_langchain_usage, read_output_meta
from spanmeter.usage.span import Span
from spanmeter.usage.values import BadCountError, count, json_object, text

NAME = "traceai"
_SCOPES = "traceai_"
_KIND = "gen_ai.span.kind"
_OUTPUT = "output.value"
_PARAMETERS = "gen_ai.request.parameters"
_TOTAL = "gen_ai.usage.total_tokens"
_COUNTS = CountNames(
    input=("gen_ai.usage.input_tokens",),
    output=("gen_ai.usage.output_tokens",),
    cache_read=("gen_ai.usage.input_tokens.cache_read",),
    cache_write=("gen_ai.usage.input_tokens.cache_write",),
    reasoning=("gen_ai.usage.output_tokens.reasoning",),
    total=(_TOTAL,),
)

_CALLS = {"LLM": "chat", "EMBEDDING": "embeddings", "UNKNOWN": "", "": ""}
"""Kinds of spans that are calls where they bear counts, and their operation."""
_CALLS_WITHOUT_COUNTS = frozenset({"LLM", "EMBEDDING"})
_PROVIDERS = {"bedrock": "aws.bedrock", "groq": "groq"}
"""Of packages whose spans name another, or none."""
_UNKNOWN_MODEL = "unknown_model"
_RUNS = frozenset({"autogen", "crewai", "pydantic_ai"})
"""Packages that report nothing but sums over runs."""
_SOLE_SOURCES = frozenset({"autogen", "google_adk", "pydantic_ai"})
"""Packages whose sums may be all there is. A crew's counts a model twice that two of its agents share."""
_ADK_AGENT = "agent_run "
_NO_REPLY = Reply()


def recognise(span: Span) -> LlmCall | None:
    if not span.scope.name.startswith(_SCOPES):
        return None
    attributes = span.attributes
    package = span.scope.name.removeprefix(_SCOPES).partition(".")[0]
    kind = text(attributes, _KIND).upper()
    if not kind and text(attributes, "gen_ai.operation.name"):
        return None  # as the conventions say
    reply = _read_reply(span, package) if kind == "LLM" else _NO_REPLY
    parameters = json_object(attributes.get(_PARAMETERS)) if kind in _CALLS_WITHOUT_COUNTS else {}
    model = text(attributes, "gen_ai.request.model", "embedding.model_name") or text(parameters, "model")
    usage, problem = _read_counts(span, package, kind, reply, model)
    if not (usage or problem or kind in _CALLS_WITHOUT_COUNTS):
        return None
    role, reason = _role(span, package, kind, reply)
    call = make_call(
        span,
        dialect=NAME,
        role=role,
        usage=usage,
        problem=problem,
        reason=reason,
        provider=_PROVIDERS.get(package)
        or semconv_provider(text(attributes, "gen_ai.provider.name", "gen_ai.system", "ls_provider")),
        operation=_CALLS.get(kind, ""),
        request_model=model,
        response_id=reply.response_id or (text(parameters, "id") if package == "openai_agents" else ""),
        streamed=reply.streamed or (usage is None and _is_stream(span, parameters.get("stream"))),
        sole_source=package in _SOLE_SOURCES,
        looks_ahead_ns=UNTIL_STREAM_IS_READ_NS if package == "llamaindex" and "stream" in span.name else 0,
    )
    return replace(call, request_model="") if model == _UNKNOWN_MODEL else call


def _read_reply(span: Span, package: str) -> Reply:
    """Of the packages that write a reply; others write the answer's text, which may be anything."""
    if package == "langchain":
        return read_langchain_reply(span.attributes.get(_OUTPUT))
    return read_reply(span.attributes.get(_OUTPUT)) if package == "google_genai" else _NO_REPLY


def _role(span: Span, package: str, kind: str, reply: Reply) -> tuple[Role, str]:
    if reply.from_cache:
        return Role.IGNORED, "answered from a cache"
    if span.name.endswith("CountTokens"):
        return Role.IGNORED, "counts tokens, calls no model"
    if (package == "llamaindex" and span.name.rpartition(".")[2].startswith("_prepare_")) or (
        package == "haystack" and "PromptBuilder" in span.name
    ):
        return Role.IGNORED, "prepares a request"
    if package in _RUNS:
        return Role.AGGREGATE, "a run's sum"
    if package == "google_adk" and span.name.startswith(_ADK_AGENT):
        return Role.AGGREGATE, "an agent's span that each of its calls overwrites with its own usage"
    return (Role.CALL, "") if kind in _CALLS else (Role.AGGREGATE, f"kind {kind}")


def _read_counts(span: Span, package: str, kind: str, reply: Reply, model: str) -> tuple[Usage | None, str]:
    usage, problem = read_langchain_usage(reply.usage)
    if usage is not None or problem:
        return with_thoughts(usage, reply.usage, total="total_tokens", model=model), problem
    usage, problem = read_counts(span.attributes, _COUNTS)
    if usage is None and not problem and package == "haystack" and kind == "EMBEDDING":
        return read_output_meta(span.attributes.get(_OUTPUT))
    if usage is not None and package == "bedrock":
        return _with_rest_of_prompt(usage, span)
    return with_thoughts(usage, span.attributes, total=_TOTAL, model=model), problem


def _with_rest_of_prompt(usage: Usage, span: Span) -> tuple[Usage | None, str]:
    """What AWS's total has beyond the others is prompt."""
    try:
        missing = (count(span.attributes, _TOTAL) or 0) - usage.total
    except BadCountError as error:
        return None, str(error)
    return replace(usage, input=usage.input + max(missing, 0)), ""


def _is_stream(span: Span, asked_for: object) -> bool:
    """Asked only where there are no counts, to say why."""
    return asked_for is True or "stream" in span.name.lower()


DIALECT = Dialect(
    name=NAME,
    keys=IDENTITY_KEYS | _COUNTS.keys() | {_KIND, _PARAMETERS},
    markers=("gen_ai.",),
    context=frozenset({_OUTPUT, "embedding.model_name", "ls_provider"}),
    recognise=recognise,
)
