from dataclasses import replace

from spanmeter.usage.call import Role, Usage
from spanmeter.usage.dialects.custom import CallNames, DialectSpec, custom_dialect
from spanmeter.usage.dialects.otel_genai import CountNames
from spanmeter.usage.recognition import Recogniser
from spanmeter.usage.span import AttributeValue
from tests.unit.usage.dialects.spans import span_of

SPEC = DialectSpec(
    name="own",
    scope="own.*",
    counts=CountNames(
        input=("own.in", "own.in.old"), output=("own.out",), cache_read=("own.cached",), total=("own.sum",)
    ),
    call=CallNames(
        request_model=("own.model",), provider=("own.vendor",), fixed_operation="chat", streamed=("own.sse",)
    ),
    role_key="own.kind",
    roles={"model": Role.CALL, "run": Role.AGGREGATE, "hit": Role.IGNORED, "true": Role.CALL},
    sole_source=True,
)
SPAN: dict[str, AttributeValue] = {
    "own.kind": "model",
    "own.in": 10,
    "own.out": "4",
    "own.cached": 3,
    "own.model": "m",
    "own.vendor": "Bedrock",
}


def recognise(
    spec: DialectSpec, attributes: dict[str, AttributeValue], scope: str = "own.sdk", name: str = "ask"
) -> object:
    return custom_dialect(spec).recognise(span_of(scope, name, attributes))


def test_a_call() -> None:
    call = custom_dialect(SPEC).recognise(span_of("own.sdk", "ask", SPAN | {"own.sse": "true"}))
    assert call is not None
    assert (call.role, call.usage, call.dialect) == (Role.CALL, Usage(input=7, cache_read=3, output=4), "own")
    assert (call.request_model, call.provider, call.operation, call.streamed) == ("m", "aws.bedrock", "chat", True)


def test_what_the_counts_include_is_said_or_follows_from_the_total() -> None:
    excluding = custom_dialect(replace(SPEC, cache_included=False))
    call = excluding.recognise(span_of("own.sdk", "ask", SPAN))
    assert call is not None and call.usage == Usage(input=10, cache_read=3, output=4)
    summed = excluding.recognise(span_of("own.sdk", "ask", SPAN | {"own.sum": 14}))
    assert summed is not None and summed.usage == Usage(input=7, cache_read=3, output=4)


def test_roles_by_value() -> None:
    dialect = custom_dialect(SPEC)
    roles = {}
    for value in ("model", "run", "hit", True):
        call = dialect.recognise(span_of("own.sdk", "ask", SPAN | {"own.kind": value}))
        assert call is not None
        roles[value] = (call.role, call.sole_source)
    assert roles == {
        "model": (Role.CALL, False),
        "run": (Role.AGGREGATE, True),
        "hit": (Role.IGNORED, False),
        True: (Role.CALL, False),
    }


def test_others_spans_are_left_to_others() -> None:
    assert recognise(SPEC, SPAN, scope="other") is None
    assert recognise(SPEC, SPAN | {"own.kind": "tool"}) is None
    assert recognise(SPEC, {"own.in": 5}) is None
    assert recognise(replace(SPEC, span="answer *"), SPAN) is None
    assert recognise(replace(SPEC, where={"region": "eu"}), SPAN | {"region": "us"}) is None
    assert recognise(replace(SPEC, where={"tries": "2"}), SPAN | {"tries": 2}) is not None
    assert recognise(SPEC, {"own.kind": "run"}) is None  # a sum of nothing


def test_without_usage_it_is_an_unmetered_call() -> None:
    call = custom_dialect(SPEC).recognise(span_of("own.sdk", "ask", {"own.kind": "model"}))
    assert call is not None and (call.role, call.usage) == (Role.CALL, None)


def test_counts_that_are_none() -> None:
    call = custom_dialect(SPEC).recognise(span_of("own.sdk", "ask", SPAN | {"own.in": -3}))
    assert call is not None and call.usage is None and "own.in" in call.problem


def test_what_tells_spans_apart_is_no_reason_to_look_at_them() -> None:
    dialect = custom_dialect(replace(SPEC, where={"http.route": "/v1"}))
    vocabulary = Recogniser(tenant_attributes=["tenant.id"], dialects=[dialect]).vocabulary()
    assert "http.route" in vocabulary.keys
    assert not any(marker in "http.route" for marker in vocabulary.markers)
    assert all(any(marker in key for marker in dialect.markers) for key in dialect.keys)
