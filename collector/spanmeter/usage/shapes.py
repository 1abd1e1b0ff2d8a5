"""Shapes: the facts of a span without what is its own. The same object for the same, in all requests.

Whoever bills looks at each shape once, and a request of one span has one: so it is made once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from spanmeter.usage.call import SpanFacts
from spanmeter.usage.encodable import is_encodable, mended
from spanmeter.usage.forms import Form
from spanmeter.usage.named import NOBODY, Named, find_tenant
from spanmeter.usage.span import Attributes

SERVICE_KEYS = ("service.name", "service.instance.id")

MOST_SHAPES = 2_000

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """What a resource says. `service` is its name and instance."""

    service: str
    named: Named


class Shapes:
    """For many threads: the worst that they do to each other is to make one twice."""

    def __init__(self, tenant_entries: Sequence[str]) -> None:
        self._tenant_entries = tenant_entries
        self._known: dict[object, SpanFacts] = {}
        self._last: tuple[Attributes | None, _Origin] = (None, _Origin(service="", named=NOBODY))

    def of(
        self,
        form: Form,
        scope: str,
        resource: Attributes,
        *,
        named: Named,
        carried: Named,
        dimensions: Pairs,
        hints: Pairs,
        credential_tenant: str,
    ) -> SpanFacts:
        """`named` is who pays by the span itself, `carried` by its baggage."""
        origin = self._origin(resource)
        carried_key = carried.key if carried.tenant else ""
        key = (
            *(form, origin.service, origin.named, scope, named.key, named.unusable),
            *(carried.tenant, carried_key, dimensions, hints, credential_tenant),
        )
        shape = self._known.get(key)
        if shape is None:
            shape = SpanFacts(
                trace_id=b"",
                span_id=b"",
                scope=scope,
                service=origin.service,
                tenant_key=named.key,
                unusable_tenants=named.unusable,
                baggage_tenant=carried.tenant,
                baggage_tenant_key=carried_key,
                resource_tenant=origin.named.tenant,
                resource_tenant_key=origin.named.key,
                resource_unusable_tenants=origin.named.unusable,
                credential_tenant=credential_tenant,
                dimensions=dimensions,
                hints=hints,
                is_tool=form.call is not None and not form.is_call,
                call=form.call if form.is_call else None,
            )
            if not is_encodable(shape):
                shape = mended(shape)
            if len(self._known) >= MOST_SHAPES:
                self._known.clear()
            self._known[key] = shape
        return shape

    def _origin(self, resource: Attributes) -> _Origin:
        """All spans of a request share their resource as one object."""
        known, origin = self._last
        if known is not resource:
            service = "/".join([str(resource.get(key, "")) for key in SERVICE_KEYS])
            origin = _Origin(service=service, named=find_tenant(resource, self._tenant_entries))
            self._last = resource, origin
        return origin
