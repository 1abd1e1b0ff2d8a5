from typing import Any

from spanmeter.usage.span import Scope, Span
from spanmeter.wire.construct import make_span


def test_a_made_span_equals_a_constructed_one() -> None:
    values: dict[str, Any] = {
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
    made = make_span(**values)
    assert type(made) is Span
    assert made == Span(**values)
    assert repr(made) == repr(Span(**values))
