"""The usage event: a CloudEvent a token class.

Source of the form: CloudEvents 1.0; Kong Konnect Metering & Billing API v3, schema MeteringEvent (closed: no extension
attributes, no null inside `data`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from spanmeter.usage.call import LlmCall, TokenClass, Usage
from spanmeter.usage.decision import Decision
from spanmeter.usage.models import implied_provider, split_model
from spanmeter.usage.providers import konnect_provider

ALL_CLASSES = tuple(TokenClass)
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
    call = decision.call
    assert call.usage is not None
    model = event_model(call)
    provider = event_provider(call)
    if rules.konnect_provider_names:
        provider = konnect_provider(provider)
    made = []
    for token_class, tokens in counted(decision.usage, rules.classes):
        data: dict[str, Any] = {"type": rules.type_names.get(token_class, token_class.value), "tokens": tokens}
        for name, value in (("model", model), ("provider", provider), ("operation", call.operation)):
            if value:
                data[name] = value
        if call.estimated:
            data["estimated"] = True
        data.update(decision.span.dimensions)
        made.append(
            UsageEvent(
                id=f"{decision.identity}-{token_class.value}",
                source=rules.source,
                type=rules.event_type,
                subject=decision.attribution.tenant,
                time_ns=decision.span.end_ns,
                token_class=token_class,
                tokens=tokens,
                model=model,
                provider=provider,
                scope=decision.span.scope,
                data=data,
            )
        )
    return made


def counted(usage: Usage, classes: Sequence[TokenClass]) -> list[tuple[TokenClass, int]]:
    """Tokens by billed class, zeros left out; the sum is always `usage.total`."""
    tokens = dict.fromkeys(classes, 0)
    for token_class in ALL_CLASSES:
        billed_as = token_class if token_class in tokens else _BASE[token_class]
        tokens[billed_as] += getattr(usage, token_class.value)
    return [(token_class, number) for token_class, number in tokens.items() if number]


def event_model(call: LlmCall) -> str:
    """The response's model, else the request's, without a `provider/` in front."""
    return split_model(call.response_model or call.request_model)[1]


def event_provider(call: LlmCall) -> str:
    """The provider that the instrumentation names, else the one in front of the model's name (`openai/gpt-4o`), else
    the one that the name itself gives away."""
    models = (call.response_model, call.request_model)
    return (
        call.provider
        or next((prefix for name in models if (prefix := split_model(name)[0])), "")
        or next((implied for name in models if (implied := implied_provider(name))), "")
    )


def rfc3339(time_ns: int) -> str:
    """UTC with all nine digits: `2026-11-23T14:00:00.123456789Z`."""
    seconds, ns = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ns:09d}Z"
