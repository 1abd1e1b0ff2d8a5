"""The tenant that attributes name."""

import msgspec
import pytest

from spanmeter.usage.call import SpanFacts
from spanmeter.usage.named import find_tenant
from spanmeter.usage.recognition import Recogniser
from spanmeter.usage.span import AttributeValue
from tests.spans import span


@pytest.mark.parametrize(
    ("value", "tenant"),
    [
        ("acme", "acme"),
        (" acme ", "acme"),
        (42, "42"),
        (["acme"], "acme"),
        (["acme", "globex"], ""),
        (True, ""),
        ('"acme"', "acme"),  # MLflow writes every attribute as JSON
        ('"ac\\u006de"', "acme"),
        ('"acme', '"acme'),
        ('"', '"'),
        ('"a"b"', '"a"b"'),
        ("x" * 513, ""),
    ],
)
def test_a_tenant_s_value(value: AttributeValue, tenant: str) -> None:
    found = find_tenant({"tenant.id": value}, ["tenant.id"])
    assert found.tenant == tenant
    assert bool(found.unusable) is not bool(tenant)


def test_a_member_of_an_attribute() -> None:
    entries = ["metadata#tenant_id", "tenant.id"]
    found = find_tenant({"metadata": '{"tenant_id": "acme"}', "tenant.id": "other"}, entries)
    assert (found.tenant, found.key) == ("acme", "metadata#tenant_id")
    found = find_tenant({"metadata": "{", "tenant.id": "other"}, entries)
    assert (found.tenant, found.key) == ("other", "tenant.id")


@pytest.mark.parametrize("value", [["a", "b"], 7.5, "x" * 600, "a\nb", "a\ud83d", False, b"acme"], ids=repr)
def test_what_can_be_no_tenant_keeps_others_from_being_asked(value: AttributeValue) -> None:
    found = find_tenant({"tenant.id": value, "tenant_id": "other"}, ["tenant.id", "tenant_id"])
    assert (found.tenant, found.key) == ("", "tenant.id")
    assert found.unusable


@pytest.mark.parametrize("levels", [0, 1, 5, 17, 450, 900, 20_000])
def test_lists_in_lists_are_looked_into_as_far_as_anybody_writes_them(levels: int) -> None:
    entries = ["metadata#tenant_id", "tenant.id"]
    text = f'{{"tenant_id": {"[" * levels}"acme"{"]" * levels}}}'
    found = find_tenant({"metadata": text, "tenant.id": "other"}, entries)
    if levels < 10:
        assert (found.tenant, found.unusable) == ("acme", ())
    else:  # from some thousand levels on it is no JSON to Python's parser
        assert found.unusable or (levels > 900 and found.tenant == "other")


@pytest.mark.parametrize("value", ["", "  ", [], [""], None, {}], ids=repr)
def test_emptiness_names_nobody(value: AttributeValue) -> None:
    assert find_tenant({"tenant.id": value, "tenant_id": "other"}, ["tenant.id", "tenant_id"]).tenant == "other"


def test_a_whole_double_is_a_number() -> None:  # JavaScript has no other
    assert find_tenant({"tenant.id": 7.0}, ["tenant.id"]).tenant == "7"


def test_half_a_surrogate_pair_keeps_nothing_from_the_journal() -> None:
    recogniser = Recogniser(tenant_attributes=["tenant.id"], dimensions={"tier": "tier"})
    made = span(response_id="chatcmpl-\ud83dAbCdEf1234567", attributes={"tier": "a\ud83d", "session.id": "s\udc00"})
    facts = recogniser.facts(made, received_ns=1)
    assert facts is not None
    assert facts.call is not None
    assert "\ufffd" in facts.call.response_id
    decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(facts), type=SpanFacts)
    assert decoded == facts


def test_a_tool_is_kept_for_its_place_between_calls() -> None:
    run = span(tokens=None, attributes={"gen_ai.operation.name": "execute_tool"})
    found = Recogniser(tenant_attributes=["tenant.id"]).facts(run, received_ns=1)
    assert found is not None
    assert (found.is_tool, found.call) == (True, None)
