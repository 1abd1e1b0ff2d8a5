"""The name of a call: the same on every way that its span can take."""

import hashlib
import re

from spanmeter.usage.call import SpanFacts

_PLAIN = re.compile(r"[A-Za-z0-9._:-]{1,96}")
_HASHED = "r-"
_USUAL = re.compile(rf"(?!{_HASHED})(?:[A-Za-z0-9]{{1,15}}[-_])?[A-Za-z0-9]{{12,80}}")
_SPAN = re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}")
_SPAN_CHARACTERS = 49
_RANDOM_PART = re.compile(r"[A-Za-z0-9]+")
LEAST_RANDOM_CHARACTERS = 12
"""Ollama numbers its responses `chatcmpl-0` to `chatcmpl-999`, other servers count upwards; what providers draw at
random (OpenAI 24 and more characters, Anthropic 24, UUIDs 32) is longer."""


def is_specific(response_id: str) -> bool:
    """Whether a response id can belong to one call only: has it enough characters behind its prefix, not all alike?"""
    _, _, tail = response_id.partition("-") if "-" in response_id else response_id.partition("_")
    drawn = tail or response_id
    if not (drawn.isascii() and drawn.isalnum()):
        drawn = "".join(_RANDOM_PART.findall(drawn))
    return len(drawn) >= LEAST_RANDOM_CHARACTERS and (len(set(drawn[:8])) > 3 or len(set(drawn)) > 3)


def response_identity(response_id: str) -> str:
    """The id itself; where it has characters or a length that a URL or an index may not like, its hash."""
    if _PLAIN.fullmatch(response_id):
        return response_id
    return _HASHED + hashlib.sha256(response_id.encode()).hexdigest()[:40]


def span_identity(span: SpanFacts) -> str:
    return identity_of_span(span.trace_id, span.span_id)


def identity_of_span(trace_id: bytes, span_id: bytes) -> str:
    return f"{trace_id.hex()}-{span_id.hex()}"


def is_usual(response_id: str) -> bool:
    """Whether it is in the form that nearly all have, which is specific and its own identity: a short prefix if any,
    and enough letters and digits that are not all alike."""
    return _USUAL.fullmatch(response_id) is not None and len({*response_id[-8:]}) > 3


def looks_made(response_id: str) -> bool:
    """Whether a provider's id may be the identity of another call: looks like a hash or a span's ids."""
    return response_id.startswith(_HASHED) or (
        len(response_id) == _SPAN_CHARACTERS and _SPAN.fullmatch(response_id) is not None
    )
