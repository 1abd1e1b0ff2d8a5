"""Who pays: the order in which a span's surroundings are asked for the tenant."""

import functools
from dataclasses import dataclass
from enum import StrEnum

from spanmeter.usage.call import SpanFacts
from spanmeter.usage.trace import Trace


class Where(StrEnum):
    """Where the tenant was found."""

    CREDENTIAL = "credential"
    SPAN = "span"
    ANCESTOR = "ancestor"
    BAGGAGE = "baggage"
    TRACE = "trace"
    RESOURCE = "resource"
    DEFAULT = "default"
    ASSIGNED = "assigned"

    __hash__ = str.__hash__


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """A tenant, where it was found and under which key; or no tenant, and, where several were, `candidates`."""

    tenant: str = ""
    where: Where | None = None
    key: str = ""
    candidates: tuple[str, ...] = ()


def attribute(span: SpanFacts, trace: Trace, *, default_subject: str = "") -> Attribution:
    """The tenant of `span`: its credential's, its own, the nearest ancestor's, its baggage's, the only one in the
    trace, its resource's, the default; the first of these that names one.

    Baggage comes after what the application itself wrote: it may be a header that somebody else's program sent.
    The rest of the trace is asked only where the chain of parents is broken; if it names several tenants, nobody is
    billed and `candidates` holds them.
    """
    if span.credential_tenant:
        return Attribution(tenant=span.credential_tenant, where=Where.CREDENTIAL)
    if span.tenant:
        return _found(span.tenant, Where.SPAN, span.tenant_key)
    if span.unusable_tenants:
        return Attribution(candidates=span.unusable_tenants)
    for ancestor in trace.ancestors(span):
        if ancestor is not None and ancestor.tenant:
            return _found(ancestor.tenant, Where.ANCESTOR, ancestor.tenant_key)
        if ancestor is not None and ancestor.unusable_tenants:
            return Attribution(candidates=ancestor.unusable_tenants)
    if span.baggage_tenant:
        return Attribution(tenant=span.baggage_tenant, where=Where.BAGGAGE, key=span.baggage_tenant_key)
    if not trace.is_whole(span):
        named = {facts.tenant: facts.tenant_key for facts in trace.facts.values() if facts.tenant}
        if len(named) == 1:
            [(tenant, key)] = named.items()
            return Attribution(tenant=tenant, where=Where.TRACE, key=key)
        if named:
            return Attribution(candidates=tuple(sorted(named)))
    if span.resource_unusable_tenants:
        return Attribution(candidates=span.resource_unusable_tenants)
    if span.resource_tenant:
        return Attribution(tenant=span.resource_tenant, where=Where.RESOURCE, key=span.resource_tenant_key)
    if default_subject:
        return Attribution(tenant=default_subject, where=Where.DEFAULT)
    return Attribution()


@functools.lru_cache(4096)
def _found(tenant: str, where: Where, key: str) -> Attribution:
    """A busy tenant's calls share one."""
    return Attribution(tenant=tenant, where=where, key=key)
