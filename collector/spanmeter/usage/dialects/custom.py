"""A dialect made from a description instead of code: the attribute names of somebody's own instrumentation.

docs/dialects.md says how such a description is written down.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from spanmeter.usage.call import LlmCall, Role
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.dialects.otel_genai import CountNames, read_counts
from spanmeter.usage.dialects.provider_names import semconv_provider
from spanmeter.usage.span import Attributes, AttributeValue, Span
from spanmeter.usage.values import passed, text, truth


@dataclass(frozen=True, slots=True, kw_only=True)
class CallNames:
    """Attribute keys of what is known of a call beside its counts, each in order of preference. `fixed_provider` and
    `fixed_operation` stand where no attribute does."""

    request_model: tuple[str, ...] = ()
    response_model: tuple[str, ...] = ()
    provider: tuple[str, ...] = ()
    fixed_provider: str = ""
    operation: tuple[str, ...] = ()
    fixed_operation: str = ""
    response_id: tuple[str, ...] = ()
    streamed: tuple[str, ...] = ()

    def keys(self) -> frozenset[str]:
        return frozenset(
            (
                *self.request_model,
                *self.response_model,
                *self.provider,
                *self.operation,
                *self.response_id,
                *self.streamed,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DialectSpec:
    """`scope` and `span` are patterns (`*`, `?`, `[…]`) that the names of scope and span match as a whole; `where` has
    attributes and the values, as text, that all must have. Empty ones match everything.

    `role_key` is the attribute whose value, as text, says what a span is, by `roles`; a span with another value is
    none of this dialect. An empty key: every span that matches is a call. The last four say what is known of the
    emitter, see `counting.disjoint` and `LlmCall`; a total overrules the first two.
    """

    name: str
    counts: CountNames
    call: CallNames = CallNames()
    scope: str = ""
    span: str = ""
    where: Mapping[str, str] = field(default_factory=dict)
    role_key: str = ""
    roles: Mapping[str, Role] = field(default_factory=dict)
    cache_included: bool = True
    reasoning_included: bool = True
    sole_source: bool = False
    estimated: bool = False


def custom_dialect(spec: DialectSpec) -> Dialect:
    """A dialect that recognises what `spec` describes."""
    keys = spec.counts.keys() | spec.call.keys() | ({spec.role_key} if spec.role_key else set())
    return Dialect(
        name=spec.name,
        keys=keys,
        markers=tuple(sorted(keys)),
        recognise=lambda span: _recognise(spec, span),
        # Such as `http.route`: told by an attribute that every span of a service may have.
        context=frozenset(spec.where),
    )


def _recognise(spec: DialectSpec, span: Span) -> LlmCall | None:
    attributes = span.attributes
    if not _matches(spec, span):
        return None
    role = Role.CALL
    if spec.role_key:
        found = spec.roles.get(_shown(attributes.get(spec.role_key)))
        if found is None:
            return None
        role = found
    usage, problem = read_counts(
        attributes, spec.counts, cache_included=spec.cache_included, reasoning_included=spec.reasoning_included
    )
    if role is Role.AGGREGATE and usage is None and not problem:
        return None
    names = spec.call
    return LlmCall(
        role=role,
        dialect=spec.name,
        operation=text(attributes, *names.operation) or names.fixed_operation,
        provider=semconv_provider(text(attributes, *names.provider) or names.fixed_provider),
        request_model=text(attributes, *names.request_model),
        response_model=text(attributes, *names.response_model),
        response_id=passed(attributes, *names.response_id),
        usage=usage,
        problem=problem,
        reason="" if role is Role.CALL else f"{spec.role_key} {_shown(attributes.get(spec.role_key))}",
        streamed=any(truth(attributes, key) for key in names.streamed),
        estimated=spec.estimated,
        is_error=span.is_error,
        sole_source=spec.sole_source and role is Role.AGGREGATE,
    )


def _matches(spec: DialectSpec, span: Span) -> bool:
    return (
        (not spec.scope or fnmatchcase(span.scope.name, spec.scope))
        and (not spec.span or fnmatchcase(span.name, spec.span))
        and _has(span.attributes, spec.where)
    )


def _has(attributes: Attributes, where: Mapping[str, str]) -> bool:
    return all(_shown(attributes.get(key)) == value for key, value in where.items())


def _shown(value: AttributeValue) -> str:
    """A scalar as the description writes it; nothing else equals any text."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) else ""
