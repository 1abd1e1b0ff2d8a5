"""An LLM call and its token counts, in the form that every dialect is brought into."""

from dataclasses import dataclass
from enum import StrEnum


class TokenClass(StrEnum):
    """Disjoint classes of tokens. `INPUT` and `OUTPUT` hold what none of the others of their side holds."""

    __hash__ = str.__hash__  # Enum's own is Python, and these are keys of the innermost loops

    INPUT = "input"
    CACHE_READ = "cache_read"
    CACHE_WRITE = "cache_write"
    OUTPUT = "output"
    REASONING = "reasoning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts in disjoint classes: their sum is the total. None is ever negative."""

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0

    @property
    def all_input(self) -> int:
        """All prompt tokens, cached ones included."""
        return self.input + self.cache_read + self.cache_write

    @property
    def all_output(self) -> int:
        """All generated tokens, reasoning included."""
        return self.output + self.reasoning

    @property
    def total(self) -> int:
        return self.all_input + self.all_output

    def less(self, other: "Usage") -> "Usage":
        """What this has beyond `other`, class by class, nowhere below zero."""
        return Usage(
            input=max(self.input - other.input, 0),
            cache_read=max(self.cache_read - other.cache_read, 0),
            cache_write=max(self.cache_write - other.cache_write, 0),
            output=max(self.output - other.output, 0),
            reasoning=max(self.reasoning - other.reasoning, 0),
        )


class Role(StrEnum):
    """What a span is to the bill."""

    __hash__ = str.__hash__  # Enum's own is Python, and these are keys of the innermost loops

    CALL = "call"
    """One request to a model."""
    AGGREGATE = "aggregate"
    """A sum over other calls (an agent, a workflow): billed never beside its parts."""
    IGNORED = "ignored"
    """Looks like a call and is none: a cache's answer, a token count, a tool."""
    TOOL = "tool"
    """No LLM span, but the run of a tool: a call below it is the tool's own, not a part of a call around it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmCall:
    """What a dialect read from one LLM span.

    `usage` is None where the span carries no counts. `problem` says why the counts cannot be believed (negative,
    absurd, not a number); such a call is never billed. `reason` says why a span is no call, where `role` says so.
    Models are as on the wire, `provider` a semantic-convention name, empty where only a framework's is known.

    `sole_source`: an aggregate that may be billed if no call below it bears usage. `estimated`: the instrumentation
    guessed, or is known to count wrongly here. `looks_back_ns`: the span reports on a call that was made so long
    before it started at most. `mixes_up`: of requests at the same time, the counts may be another's than the span's
    place in the trace. `carried_on`: the reply asked for tools, and the next call in the same place reports this one's
    counts and its own. `looks_ahead_ns`: it ends before its call begins, so long at most.
    """

    role: Role
    dialect: str
    operation: str = ""
    provider: str = ""
    request_model: str = ""
    response_model: str = ""
    response_id: str = ""
    usage: Usage | None = None
    problem: str = ""
    reason: str = ""
    streamed: bool = False
    estimated: bool = False
    is_error: bool = False
    sole_source: bool = False
    looks_back_ns: int = 0
    mixes_up: bool = False
    carried_on: bool = False
    looks_ahead_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanFacts:
    """All that is journalled of one span: enough to decide its trace, and no message text.

    `tenant` is what the span's own attributes name, or else what was bound in code when it started; `tenant_key` the
    setting's entry that found it; the same for `baggage_tenant` (of calls only) and
    `resource_tenant`. Where something stands there that can be no tenant, `unusable_tenants` shows it. `service` is the
    resource's identity (name and instance). `dimensions` are the further attributes that the settings copy into events,
    already under their event names. `hints` are ids on the span by which a person may tell whose call it is, where no
    tenant is named. `is_tool`: the run of a tool, kept for its place between calls.
    """

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes = b""
    parent_is_remote: bool | None = None
    start_ns: int = 0
    end_ns: int = 0
    scope: str = ""
    service: str = ""
    tenant: str = ""
    tenant_key: str = ""
    unusable_tenants: tuple[str, ...] = ()
    baggage_tenant: str = ""
    baggage_tenant_key: str = ""
    resource_tenant: str = ""
    resource_tenant_key: str = ""
    resource_unusable_tenants: tuple[str, ...] = ()
    credential_tenant: str = ""
    dimensions: tuple[tuple[str, str], ...] = ()
    hints: tuple[tuple[str, str], ...] = ()
    is_tool: bool = False
    call: LlmCall | None = None


Key = tuple[bytes, bytes]
"""Trace id and span id."""


def key_of(span: SpanFacts) -> Key:
    return span.trace_id, span.span_id


def call_of(span: SpanFacts) -> LlmCall:
    assert span.call is not None
    return span.call
