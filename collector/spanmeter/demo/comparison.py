"""What was metered against what the endpoint says that it served, and what it would cost."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from spanmeter.demo.provider import ServedCall
from spanmeter.ledger.report import UsageRow

DOLLARS_PER_TOKEN: Final[Mapping[str, Decimal]] = {"input": Decimal(1), "output": Decimal(2)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Whose tokens: one tenant's, of one model and one token class."""

    tenant: str
    model: str
    token_class: str


Tokens = Counter[Counted]


def tokens_metered(rows: Sequence[UsageRow]) -> Tokens:
    tokens: Tokens = Counter()
    for row in rows:
        tokens[Counted(tenant=row.tenant, model=row.model, token_class=row.token_class)] += row.tokens
    return tokens


def tokens_served(calls: Sequence[ServedCall]) -> Tokens:
    """Every call, whether or not its client was told the counts."""
    tokens: Tokens = Counter()
    for call in calls:
        for token_class, number in (("input", call.input_tokens), ("output", call.output_tokens)):
            counted = Counted(tenant=call.tenant or "", model=call.model_response, token_class=token_class)
            tokens[counted] += number
    return tokens


def cost(tokens: Tokens, *, tenant: str | None = None) -> Decimal:
    """In dollars; of one tenant, or of all."""
    return sum(
        (
            number * DOLLARS_PER_TOKEN[counted.token_class]
            for counted, number in tokens.items()
            if tenant in (None, counted.tenant)
        ),
        Decimal(0),
    )


def tokens_of_class(tokens: Tokens, token_class: str, *, tenant: str | None = None) -> int:
    """Tokens of a class; of one tenant, or of all."""
    return sum(
        number
        for counted, number in tokens.items()
        if counted.token_class == token_class and tenant in (None, counted.tenant)
    )


def differences(metered: Tokens, served: Tokens) -> list[str]:
    """One line for each tenant, model and token class whose counts differ; none if all are equal."""
    return [
        f"{of.tenant or 'no tenant'}, {of.model}, {of.token_class}: metered {metered[of]:,}, served {served[of]:,}"
        for of in sorted(metered.keys() | served.keys(), key=lambda of: (of.tenant, of.model, of.token_class))
        if metered[of] != served[of]
    ]
