"""What is made in bulk equals what is constructed."""

from dataclasses import fields, replace
from typing import Any

from spanmeter.usage.call import LlmCall, Role, SpanFacts, Usage
from spanmeter.usage.construct import make_similar_call, make_similar_facts, make_span, make_usage
from spanmeter.usage.span import Scope, Span

SPAN: dict[str, Any] = {
    "trace_id": b"t" * 16,
    "span_id": b"s" * 8,
    "parent_span_id": b"p" * 8,
    "parent_is_remote": True,
    "name": "chat",
    "start_ns": 1,
    "end_ns": 2,
    "is_error": True,
    "attributes": {"a": 1},
    "resource": {"b": 2},
    "scope": Scope(name="n", version="v"),
}
CALL: dict[str, Any] = {
    **{field.name: field.name for field in fields(LlmCall)},
    "role": Role.CALL,
    "usage": Usage(input=1, output=2),
    "streamed": True,
    "estimated": True,
    "is_error": True,
    "sole_source": True,
    "looks_back_ns": 7,
}
FACTS: dict[str, Any] = {
    "service": "s/1",
    "tenant": "acme",
    "tenant_key": "tenant.id",
    "unusable_tenants": ("x",),
    "resource_tenant": "globex",
    "resource_tenant_key": "customer.id",
    "resource_unusable_tenants": ("y",),
    "credential_tenant": "initech",
    "dimensions": (("tier", "gold"),),
    "hints": (("user.id", "7"),),
    "call": LlmCall(**CALL),
}


def same(made: object, constructed: object) -> bool:
    return type(made) is type(constructed) and made == constructed and repr(made) == repr(constructed)


def test_a_span() -> None:
    assert same(make_span(*SPAN.values()), Span(**SPAN))


def test_counts() -> None:
    assert same(make_usage(1, 2, 3, 4, 5), Usage(input=1, cache_read=2, cache_write=3, output=4, reasoning=5))


def test_a_call_like_another() -> None:
    other = make_similar_call(LlmCall(**CALL), "id", None)
    assert same(other, LlmCall(**(CALL | {"response_id": "id", "usage": None})))


def test_facts_like_others() -> None:
    others = SpanFacts(trace_id=b"", span_id=b"", scope="n", **FACTS)
    made = make_similar_facts(others, b"t", b"s", b"p", True, 1, 9, "own", None)
    own: dict[str, Any] = {
        "trace_id": b"t",
        "span_id": b"s",
        "parent_span_id": b"p",
        "parent_is_remote": True,
        "start_ns": 1,
    }
    assert same(made, replace(others, **own, end_ns=9, tenant="own", call=None))
