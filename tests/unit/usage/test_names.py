"""Models, providers, identities, values."""

import pytest

from spanmeter.usage.event import event_model, event_provider, rfc3339
from spanmeter.usage.identity import is_specific, response_identity
from spanmeter.usage.models import same_model
from spanmeter.usage.providers import konnect_provider
from spanmeter.usage.values import BadCountError, as_count, count
from tests.spans import llm_call


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
        ("openai/gpt-4o-mini", "gpt-4o-mini"),
        ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
        ("us.amazon.nova-pro-v1:0", "nova-pro-v1:0"),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", "claude-3-5-sonnet"),
        ("mistral-large-latest", "mistral-large-2411"),
        ("", "gpt-4o"),
    ],
)
def test_same_model(one: str, other: str) -> None:
    assert same_model((one,), (other,))


@pytest.mark.parametrize(("one", "other"), [("gpt-4o", "gpt-4o-mini"), ("gpt-4", "gpt-4o"), ("o1", "o3")])
def test_other_model(one: str, other: str) -> None:
    assert not same_model((one,), (other,))


@pytest.mark.parametrize(
    ("response_id", "specific"),
    [
        ("chatcmpl-BNfbFxyWYvZ5ZJv8QvJvTpzN4XPGq", True),
        ("msg_01XFDUDYJgAACzvnptvVoYEL", True),
        ("resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b", True),
        ("5a1f0ad0-9a4e-4f0e-8f2b-6a0c2c6f1e11", True),
        ("chatcmpl-123", False),
        ("chatcmpl-999", False),
        ("00000000-0000-0000-0000-000000000000", False),
        ("", False),
    ],
)
def test_specific_ids(response_id: str, specific: bool) -> None:
    assert is_specific(response_id) is specific


def test_an_identity_is_plain_and_short() -> None:
    assert response_identity("chatcmpl-BNfbFxyWYvZ5ZJv8QvJvTpzN4XPGq") == "chatcmpl-BNfbFxyWYvZ5ZJv8QvJvTpzN4XPGq"
    long = response_identity("x y/z" * 100)
    assert long.startswith("r-")
    assert len(long) == 42


def test_provider_and_model_of_an_event() -> None:
    prefixed = llm_call(provider="", request_model="openai/gpt-4o-mini", response_model="")
    assert (event_model(prefixed), event_provider(prefixed)) == ("gpt-4o-mini", "openai")
    assert konnect_provider("aws.bedrock") == "bedrock"
    assert konnect_provider("OpenAI") == "openai"


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("us.amazon.nova-pro-v1:0", "aws.bedrock"),
        ("anthropic.claude-3-5-sonnet-20240620-v1:0", "aws.bedrock"),
        ("arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-x", "aws.bedrock"),
        ("gpt-4o-2024-08-06", "openai"),
        ("ft:gpt-4o-mini-2024-07-18:acme::AbCd", "openai"),
        ("claude-sonnet-4-5", "anthropic"),
        ("models/gemini-2.5-flash", "gcp.gen_ai"),
        ("azure/gpt-4o", "azure"),
        ("gpt-oss-120b", ""),
        ("accounts/fireworks/models/llama-v3", ""),
        ("llama3.2", ""),
    ],
)
def test_the_provider_that_a_model_s_name_gives_away(model: str, provider: str) -> None:
    assert event_provider(llm_call(provider="", request_model=model)) == provider
    assert event_provider(llm_call(provider="vllm", request_model=model)) == "vllm"


def test_time_keeps_nanoseconds() -> None:
    assert rfc3339(1_700_000_000_000_000_001) == "2023-11-14T22:13:20.000000001Z"


@pytest.mark.parametrize(
    ("value", "tokens"), [(5, 5), (6.0, 6), ("7", 7), (" 8 ", 8), ("3389.0", 3389), (0, 0)], ids=repr
)
def test_counts(value: object, tokens: int) -> None:
    assert as_count("k", value) == tokens  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value", [-1, 1.5, float("nan"), float("inf"), "many", "", True, 10**9, "-3", [1], {"a": 1}], ids=repr
)
def test_no_counts(value: object) -> None:
    with pytest.raises(BadCountError, match=r"^k "):
        as_count("k", value)  # type: ignore[arg-type]


def test_the_first_key_that_is_there() -> None:
    assert count({"b": 2, "c": 3}, "a", "b", "c") == 2
    assert count({}, "a") is None
