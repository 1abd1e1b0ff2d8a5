"""The usage event: a CloudEvent a token class.

Source of the form: CloudEvents 1.0; Kong Konnect Metering & Billing API v3, schema MeteringEvent (closed: no extension
attributes, no null inside `data`).
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from spanmeter.usage.call import LlmCall, TokenClass, Usage
from spanmeter.usage.decision import Decision
from spanmeter.usage.models import split_model
from spanmeter.usage.providers import konnect_provider

_WORDS = {token_class: token_class.value for token_class in TokenClass}  # an enum's `value` is slow to ask for
_BASE = {
    TokenClass.CACHE_READ: TokenClass.INPUT,
    TokenClass.CACHE_WRITE: TokenClass.INPUT,
    TokenClass.REASONING: TokenClass.OUTPUT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRules:
    """How decisions become events. `classes` are billed apart; tokens of a class left out count in its side's base
    class. `type_names` are the words for input and output in `data.type`."""

    event_type: str = "kong.llm_request"
    source: str = "spanmeter"
    classes: tuple[TokenClass, ...] = (TokenClass.INPUT, TokenClass.OUTPUT)
    type_names: Mapping[TokenClass, str] = field(default_factory=dict)
    konnect_provider_names: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageEvent:
    """One event. `time_ns` is the end of the span; `data` is what the meter reads, without nulls; `scope`, the
    instrumentation that reported it, stays here."""

    id: str
    source: str
    type: str
    subject: str
    time_ns: int
    token_class: TokenClass
    tokens: int
    model: str
    provider: str
    scope: str
    data: Mapping[str, Any]

    def cloudevent(self) -> dict[str, Any]:
        """The CloudEvent in structured mode."""
        return {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "subject": self.subject,
            "time": rfc3339(self.time_ns),
            "datacontenttype": "application/json",
            "data": dict(self.data),
        }


def events(decision: Decision, rules: EventRules) -> list[UsageEvent]:
    """The events of a billed decision, one a class with a count above zero, ids `<identity>-<class>`."""
    call, span = decision.call, decision.span
    assert call.usage is not None
    model = event_model(call)
    provider = event_provider(call)
    if rules.konnect_provider_names:
        provider = konnect_provider(provider)
    named = (("model", model), ("provider", provider), ("operation", call.operation))
    about: dict[str, Any] = {name: value for name, value in named if value}
    if call.estimated:
        about["estimated"] = True
    about.update(span.dimensions)
    return [
        UsageEvent(
            id=event_id(decision.identity, token_class),
            source=rules.source,
            type=rules.event_type,
            subject=decision.attribution.tenant,
            time_ns=span.end_ns,
            token_class=token_class,
            tokens=tokens,
            model=model,
            provider=provider,
            scope=span.scope,
            data={"type": rules.type_names.get(token_class, _WORDS[token_class]), "tokens": tokens, **about},
        )
        for token_class, tokens in counted(call.usage, rules.classes)
    ]


def event_id(identity: str, token_class: TokenClass) -> str:
    """Of the event of one class of a call."""
    return f"{identity}-{_WORDS[token_class]}"


def counted(usage: Usage, classes: Sequence[TokenClass]) -> list[tuple[TokenClass, int]]:
    """Tokens by billed class, zeros left out; the sum is always `usage.total`."""
    tokens = dict.fromkeys(classes, 0)
    for token_class, word in _WORDS.items():
        number = getattr(usage, word)
        if number:
            tokens[token_class if token_class in tokens else _BASE[token_class]] += number
    return [(token_class, number) for token_class, number in tokens.items() if number]


def event_model(call: LlmCall) -> str:
    """The response's model, else the request's, without a `provider/` in front."""
    return split_model(call.response_model or call.request_model)[1]


def event_provider(call: LlmCall) -> str:
    """The provider that the instrumentation names, else the one in front of the model's name (`openai/gpt-4o`)."""
    return call.provider or split_model(call.response_model)[0] or split_model(call.request_model)[0]


def rfc3339(time_ns: int) -> str:
    """UTC with all nine digits: `2026-11-23T14:00:00.123456789Z`."""
    seconds, ns = divmod(time_ns, 1_000_000_000)
    return f"{_to_the_second(seconds)}.{ns:09d}Z"


@functools.lru_cache(1024)
def _to_the_second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
