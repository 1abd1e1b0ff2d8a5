"""The usage event: a CloudEvent a token class.

Source of the form: CloudEvents 1.0; Kong Konnect Metering & Billing API v3, schema MeteringEvent (closed: no extension
attributes, no null inside `data`).
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from spanmeter.usage.call import LlmCall, TokenClass, Usage
from spanmeter.usage.decision import Decision
from spanmeter.usage.models import implied_provider, split_model
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
    type_names: Mapping[TokenClass, str] = field(default_factory=dict, hash=False)
    konnect_provider_names: bool = True


class UsageEvent(NamedTuple):
    """One event; a tuple, because two are made of every call.

    `time_ns` is the end of the span; `data` is what the meter reads, without nulls; `scope`, the instrumentation that
    reported it, stays here.
    """

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
    model, provider = _names(call.response_model, call.request_model, call.provider, rules.konnect_provider_names)
    about: dict[str, Any] = {}
    if model:
        about["model"] = model
    if provider:
        about["provider"] = provider
    if call.operation:
        about["operation"] = call.operation
    if call.estimated:
        about["estimated"] = True
    about.update(span.dimensions)
    tenant, names, identity = decision.attribution.tenant, rules.type_names, decision.identity
    return [
        UsageEvent(
            f"{identity}-{_WORDS[token_class]}",
            rules.source,
            rules.event_type,
            tenant,
            span.end_ns,
            token_class,
            tokens,
            model,
            provider,
            span.scope,
            {"type": names.get(token_class) or _WORDS[token_class], "tokens": tokens, **about},
        )
        for token_class, tokens in counted(decision.usage, rules.classes)
    ]


@functools.lru_cache(4096)
def _names(response_model: str, request_model: str, provider: str, for_konnect: bool) -> tuple[str, str]:
    """Model and provider as events have them."""
    models = (response_model, request_model)
    provider = (
        provider
        or next((prefix for name in models if (prefix := split_model(name)[0])), "")
        or next((implied for name in models if (implied := implied_provider(name))), "")
    )
    model = split_model(response_model or request_model)[1]
    return model, konnect_provider(provider) if for_konnect else provider


def event_id(identity: str, token_class: TokenClass) -> str:
    """Of the event of one class of a call."""
    return f"{identity}-{_WORDS[token_class]}"


def part_classes(classes: Sequence[TokenClass]) -> list[TokenClass]:
    """For each field of `Usage` in their order, the class of `classes` that it is billed in."""
    return [part if part in classes else _BASE[part] for part in _WORDS]


def counted(usage: Usage, classes: Sequence[TokenClass]) -> list[tuple[TokenClass, int]]:
    """Tokens by billed class, zeros left out; the sum is always `usage.total`."""
    tokens = dict.fromkeys(classes, 0)
    for token_class, number in zip(
        part_classes(classes),
        (usage.input, usage.cache_read, usage.cache_write, usage.output, usage.reasoning),
        strict=True,
    ):
        tokens[token_class] += number
    return [(token_class, number) for token_class, number in tokens.items() if number]


def event_model(call: LlmCall) -> str:
    """The response's model, else the request's, without a `provider/` in front."""
    return _names(call.response_model, call.request_model, call.provider, False)[0]


def event_provider(call: LlmCall) -> str:
    """The provider that the instrumentation names, else the one in front of the model's name (`openai/gpt-4o`), else
    the one that the name itself gives away."""
    return _names(call.response_model, call.request_model, call.provider, False)[1]


def rfc3339(time_ns: int) -> str:
    """UTC with all nine digits: `2026-11-23T14:00:00.123456789Z`."""
    seconds, ns = divmod(time_ns, 1_000_000_000)
    return f"{_to_the_second(seconds)}.{ns:09}Z"


@functools.lru_cache(1024)
def _to_the_second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
