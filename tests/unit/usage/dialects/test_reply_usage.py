"""Facts: the providers' own libraries, see the module's docstring."""

import pytest

from spanmeter.usage.call import Usage
from spanmeter.usage.dialects.reply_usage import read_reply_usage
from spanmeter.usage.span import AttributeValue


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ({"prompt_tokens": 10, "total_tokens": 10}, Usage(input=10)),
        (
            {
                "input_tokens": 10,
                "output_tokens": 8,
                "input_tokens_details": {"cached_tokens": 4},
                "output_tokens_details": {"reasoning_tokens": 3},
                "total_tokens": 18,
            },
            Usage(input=6, cache_read=4, output=5, reasoning=3),
        ),
        (
            {"input_tokens": 10, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 2, "output_tokens": 8},
            Usage(input=10, cache_read=4, cache_write=2, output=8),
        ),
        (
            {"promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 3, "toolUsePromptTokenCount": 1},
            Usage(input=11, output=5, reasoning=3),
        ),
        (
            {"inputTokens": 10, "outputTokens": 5, "cacheReadInputTokens": 4, "totalTokens": 19},
            Usage(input=10, cache_read=4, output=5),
        ),
        ({}, None),
        ({"prompt_tokens": 0, "completion_tokens": 0}, None),
    ],
)
def test_each_provider_s_meaning(reported: dict[str, AttributeValue], expected: Usage | None) -> None:
    assert read_reply_usage(reported) == (expected, "")


@pytest.mark.parametrize("reported", [{"prompt_tokens": -1}, {"prompt_token_count": "x"}, {"inputTokens": 1.5}])
def test_counts_that_cannot_be_believed(reported: dict[str, AttributeValue]) -> None:
    usage, problem = read_reply_usage(reported)
    assert usage is None and problem
