"""Thoughts that Gemini counted and an instrumentation left out.

Gemini's total is prompt + candidates + thoughts (python-genai types.py, GenerateContentResponseUsageMetadata), so what
a total has beyond input and output are thoughts. Tool use prompts, in it too, occur with Google's own tools only.
"""

from collections.abc import Mapping
from dataclasses import replace

from spanmeter.usage.call import Usage
from spanmeter.usage.span import AttributeValue
from spanmeter.usage.values import BadCountError, count


def with_thoughts(usage: Usage | None, counts: Mapping[str, AttributeValue], *, total: str, model: str) -> Usage | None:
    """`usage` with the thoughts that only the count under `total` has; as it is where they are told, or for others."""
    if usage is None or "gemini" not in model.lower() or usage.reasoning:
        return usage
    try:
        missing = (count(counts, total) or 0) - usage.total
    except BadCountError:
        return usage
    return replace(usage, reasoning=missing) if missing > 0 else usage
