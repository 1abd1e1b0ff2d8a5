"""OpenTelemetry's GenAI semantic conventions, all versions since 1.26; also the vocabulary that most others extend.

Source: semantic-conventions v1.26.0 to v1.41.1, docs/gen-ai/gen-ai-spans.md and model/gen-ai/registry.yaml (1.26
called the counts `prompt_tokens` and `completion_tokens`, 1.37 renamed `gen_ai.system` to `gen_ai.provider.name`, 1.40
added the cache and 1.41 the reasoning counts); semantic-conventions-genai renamed `cache_creation` to
`cache_write` (changelog 440); opentelemetry-util-genai 1.3b0 _inference_invocation.py.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from spanmeter.usage.call import LlmCall, Role, Usage
from spanmeter.usage.counting import UsualCounts, disjoint
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.packing import Counts, counts_of
from spanmeter.usage.span import Attributes, Span
from spanmeter.usage.values import BadCountError, count, passed, text
from spanmeter.usage.watching import WatchedAttributes


@dataclass(frozen=True, slots=True, kw_only=True)
class CountNames:
    """Attribute keys of the counts, each in order of preference: one name is read, aliases are never added up."""

    input: tuple[str, ...]
    output: tuple[str, ...]
    cache_read: tuple[str, ...] = ()
    cache_write: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    total: tuple[str, ...] = ()

    def keys(self) -> frozenset[str]:
        return frozenset((*self.input, *self.output, *self.cache_read, *self.cache_write, *self.reasoning, *self.total))


COUNTS = CountNames(
    input=("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
    output=("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    # The last of each are Sentry's (sentry-sdk 3.0 consts.py, SPANDATA) and LiveKit's (livekit-agents 2.0
    # trace_types.py), subsets of the input and output counts like the others.
    cache_read=(
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "gen_ai.usage.input_tokens.cached",
        "gen_ai.usage.input_cached_tokens",
    ),
    cache_write=(
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "gen_ai.usage.cache_write_input_tokens",
        "gen_ai.usage.input_tokens.cache_write",
    ),
    reasoning=(
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.reasoning_tokens",
        "gen_ai.usage.output_tokens.reasoning",
    ),
    total=("gen_ai.usage.total_tokens", "llm.usage.total_tokens"),
)

CALLS = frozenset({"chat", "generate_content", "text_completion", "embeddings"})
# registry.yaml, gen_ai.operation.name: operations that wrap model calls and may repeat their sum.
AGGREGATES = frozenset({"invoke_agent", "create_agent", "invoke_workflow", "plan"})
# Operations that reach no model, or none anew. `fetch_response` reads a stored response: semconv-genai says that
# instrumentations should not report usage on it; token counting endpoints report what a call would have used.
IGNORED = frozenset({"execute_tool", "retrieval", "rerank", "count_tokens", "tokenize", "fetch_response"})

TOOL = "execute_tool"

IDENTITY_KEYS = frozenset(
    {
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.system",
        "gen_ai.request.model",
        "gen_ai.request.stream",
        "gen_ai.response.model",
        "gen_ai.response.id",
    }
)
KEYS = IDENTITY_KEYS | COUNTS.keys()


def recognise(span: Span) -> LlmCall | None:
    """An operation of the conventions, or any span with their usage counts."""
    operation = text(span.attributes, "gen_ai.operation.name")
    usage, problem = read_counts(span.attributes)
    has_counts = usage is not None or bool(problem)
    if operation in AGGREGATES or operation in IGNORED:
        if not has_counts:
            return make_call(span, dialect=NAME, role=Role.TOOL, usage=None) if operation == TOOL else None
        role = Role.AGGREGATE if operation in AGGREGATES else Role.IGNORED
        return make_call(span, dialect=NAME, role=role, usage=usage, problem=problem, reason=f"operation {operation}")
    if operation in CALLS or has_counts:
        return make_call(span, dialect=NAME, role=Role.CALL, usage=usage, problem=problem)
    return None


def make_call(
    span: Span,
    *,
    dialect: str,
    role: Role,
    usage: Usage | None,
    problem: str = "",
    reason: str = "",
    provider: str | None = None,
    request_model: str = "",
    response_model: str = "",
    response_id: str = "",
    operation: str = "",
    streamed: bool = False,
    estimated: bool = False,
    sole_source: bool = False,
    looks_back_ns: int = 0,
    mixes_up: bool = False,
    carried_on: bool = False,
    looks_ahead_ns: int = 0,
) -> LlmCall:
    """A call whose models, provider, operation and response id are read from the conventions' attributes where the
    arguments leave them open. `provider=""` says that what stands in the attribute is a framework's name."""
    attributes = span.attributes
    return LlmCall(
        role=role,
        dialect=dialect,
        operation=operation or text(attributes, "gen_ai.operation.name"),
        provider=text(attributes, "gen_ai.provider.name", "gen_ai.system") if provider is None else provider,
        request_model=request_model or text(attributes, "gen_ai.request.model"),
        response_model=response_model or text(attributes, "gen_ai.response.model"),
        response_id=response_id or passed(attributes, "gen_ai.response.id"),
        usage=usage,
        problem=problem,
        reason=reason,
        streamed=streamed or attributes.get("gen_ai.request.stream") is True,
        estimated=estimated,
        is_error=span.is_error,
        sole_source=sole_source,
        looks_back_ns=looks_back_ns,
        mixes_up=mixes_up,
        carried_on=carried_on,
        looks_ahead_ns=looks_ahead_ns,
    )


def read_counts(
    attributes: Attributes,
    names: CountNames = COUNTS,
    *,
    cache_included: bool = True,
    reasoning_included: bool = True,
) -> tuple[Usage | None, str]:
    """Disjoint counts and, where they cannot be believed, why. Zero on both sides is none: failed calls have that.

    `attributes` may be any mapping, such as a JSON object's. The flags say what is known of the emitter, see
    `counting.disjoint`.
    """
    reading = Reading(names=names, cache_included=cache_included, reasoning_included=reasoning_included)
    return attributes.counted(reading) if isinstance(attributes, WatchedAttributes) else reading.read(attributes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """`read_counts` with its arguments, see `watching.Reading`."""

    names: CountNames
    cache_included: bool
    reasoning_included: bool

    def keys(self) -> frozenset[str]:
        return self.names.keys()

    def read(self, attributes: Attributes) -> tuple[Usage | None, str]:
        names = self.names
        try:
            input_tokens = count(attributes, *names.input)
            output_tokens = count(attributes, *names.output)
            cache_read = count(attributes, *names.cache_read) or 0
            cache_write = count(attributes, *names.cache_write) or 0
            if not (input_tokens or output_tokens or cache_read or cache_write):
                return None, ""
            return (
                disjoint(
                    input_tokens or 0,
                    output_tokens or 0,
                    cache_read=cache_read,
                    cache_write=cache_write,
                    reasoning=count(attributes, *names.reasoning) or 0,
                    total=count(attributes, *names.total),
                    cache_included=self.cache_included,
                    reasoning_included=self.reasoning_included,
                ),
                "",
            )
        except BadCountError as error:
            return None, str(error)

    def prepared(self, keys: Collection[str]) -> Callable[[Attributes], Counts | None]:
        """The usual case, whole numbers for input, output and perhaps the total, is read here."""
        names = self.names
        parts = (*names.cache_read, *names.cache_write, *names.reasoning)
        found = [next((key for key in group if key in keys), "") for group in (names.input, names.output, names.total)]
        input_key, output_key, total_key = found[0], found[1], found[2] or found[0]
        if not input_key or not output_key or any(key in keys for key in parts):
            return self._read_any
        return UsualCounts(input_key, output_key, total_key, self._read_any)

    def _read_any(self, attributes: Attributes) -> Counts | None:
        usage = self.read(attributes)[0]
        return None if usage is None else counts_of(usage)


NAME = "otel-genai"
DIALECT = Dialect(name=NAME, keys=KEYS, markers=("gen_ai.", "llm.usage."), recognise=recognise)
