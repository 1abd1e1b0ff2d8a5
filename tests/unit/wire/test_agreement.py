"""The two encodings, and the short cut past spans of no interest, must come to the same spans."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from spanmeter.usage.span import NO_PARENT, AttributeValue, Span
from spanmeter.wire.request import DecodedRequest
from tests.unit.wire.bodies import VOCABULARY, decode_json, decode_protobuf, request, set_attributes, to_json

scalars: st.SearchStrategy[AttributeValue] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.integers(0, 20_000)
    | st.floats(allow_nan=False)
    | st.text(max_size=200)
    | st.binary(max_size=20)
)
values: st.SearchStrategy[AttributeValue] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
keys = (
    st.sampled_from(sorted(VOCABULARY.keys))
    | st.sampled_from(["http.method", "gen_ai.prompt", "x"])
    | st.text(max_size=9)
)
attributes = st.dictionaries(keys, values, max_size=5)
trace_ids = st.binary(min_size=16, max_size=16) | st.sampled_from([bytes(16), b"", b"x" * 15])
span_ids = st.binary(min_size=8, max_size=8)
spans = st.fixed_dictionaries(
    {
        "trace_id": trace_ids,
        "span_id": span_ids,
        "parent_span_id": span_ids | st.sampled_from([b"", bytes(8), b"xy"]),
        "trace_state": st.sampled_from(["", "a=b"]),
        "name": st.text(max_size=10),
        "start_time_unix_nano": st.integers(0, 2**64 - 1),
        "end_time_unix_nano": st.integers(0, 2**63 - 1),
        "flags": st.sampled_from([0, 1, 0x100, 0x300, 0x301]),
        "code": st.sampled_from([0, 1, 2]),
        "attributes": attributes,
    }
)
requests = st.lists(st.tuples(attributes, st.lists(spans, max_size=4)), max_size=3)


def links(decoded: DecodedRequest) -> list[bytes]:
    return sorted(decoded.links[at : at + 32] for at in range(0, len(decoded.links), 32))


@settings(deadline=None)
@given(requests)
def test_protobuf_json_and_the_rules_agree(
    resources: list[tuple[dict[str, AttributeValue], list[dict[str, Any]]]],
) -> None:
    message, _ = request()
    expected_spans: list[Span] = []
    expected_links: list[bytes] = []
    rejected = 0
    for resource_attributes, raw_spans in resources:
        resource_spans = message.resource_spans.add()
        set_attributes(resource_spans.resource.attributes, resource_attributes)
        target = resource_spans.scope_spans.add().spans
        for raw in raw_spans:
            fields = {name: value for name, value in raw.items() if name not in ("attributes", "code")}
            span = target.add(**fields)
            set_attributes(span.attributes, raw["attributes"])
            span.status.code = raw["code"]
            parent = raw["parent_span_id"]
            own = {key: value for key, value in raw["attributes"].items() if key in VOCABULARY.keys}
            is_valid = len(raw["trace_id"]) == 16 and any(raw["trace_id"]) and any(raw["span_id"])
            if not is_valid or len(parent) not in (0, 8):
                rejected += 1
            elif any(key != "service.name" for key in own):
                start = raw["start_time_unix_nano"]
                expected_spans.append(
                    Span(
                        trace_id=raw["trace_id"],
                        span_id=raw["span_id"],
                        parent_span_id=parent if any(parent) else NO_PARENT,
                        parent_is_remote=bool(raw["flags"] & 0x200) if raw["flags"] & 0x100 else None,
                        name=raw["name"],
                        start_ns=start if start < 2**63 else 0,
                        end_ns=raw["end_time_unix_nano"],
                        is_error=raw["code"] == 2,
                        attributes=own,
                        resource={key: value for key, value in resource_attributes.items() if key in VOCABULARY.keys},
                    )
                )
            else:
                expected_links.append(raw["trace_id"] + raw["span_id"] + (parent or bytes(8)))

    decoded = decode_protobuf(message.SerializeToString(), VOCABULARY)
    assert list(decoded.spans) == expected_spans
    assert links(decoded) == sorted(expected_links)
    assert decoded.rejected == rejected
    assert decoded.span_count == sum(len(raw_spans) for _, raw_spans in resources)

    from_json = decode_json(to_json(message), VOCABULARY)
    assert list(from_json.spans) == expected_spans
    assert links(from_json) == sorted(expected_links)
    assert (from_json.span_count, from_json.rejected) == (decoded.span_count, rejected)
    assert from_json.rejection == decoded.rejection
