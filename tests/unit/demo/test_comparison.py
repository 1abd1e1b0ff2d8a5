"""The demonstration's comparison: to the token, by tenant, model and token class."""

from dataclasses import replace
from decimal import Decimal

from spanmeter.demo.comparison import cost, differences, tokens_metered, tokens_of_class, tokens_served
from spanmeter.demo.provider import ServedCall
from spanmeter.ledger.report import UsageRow

CALL = ServedCall(
    response_id="chatcmpl-1",
    api="chat",
    tenant="acme",
    model_request="gpt-4o-mini",
    model_response="gpt-4o-mini-2024-07-18",
    streamed=False,
    input_tokens=10,
    output_tokens=4,
    cached_tokens=2,
    reasoning_tokens=1,
    usage_reported=True,
    completed=True,
)
CALLS = (CALL, CALL, replace(CALL, tenant="globex"))


def row(tenant: str, token_class: str, tokens: int) -> UsageRow:
    model = CALL.model_response
    return UsageRow(tenant=tenant, period="", model=model, token_class=token_class, events=1, tokens=tokens)


ROWS = [row("acme", "input", 20), row("acme", "output", 8), row("globex", "input", 10), row("globex", "output", 4)]


def test_equal_books_have_no_differences() -> None:
    assert differences(tokens_metered(ROWS), tokens_served(CALLS)) == []
    assert differences(tokens_metered([]), tokens_served([replace(CALL, input_tokens=0, output_tokens=0)])) == []


def test_each_difference_is_named() -> None:
    metered = tokens_metered([*ROWS[:1], row("acme", "output", 9), *ROWS[2:3], row("initech", "input", 1)])
    assert differences(metered, tokens_served(CALLS)) == [
        "acme, gpt-4o-mini-2024-07-18, output: metered 9, served 8",
        "globex, gpt-4o-mini-2024-07-18, output: metered 0, served 4",
        "initech, gpt-4o-mini-2024-07-18, input: metered 1, served 0",
    ]


def test_totals_are_right_in_sum_but_not_in_share() -> None:
    swapped = tokens_metered([replace(one, tenant={"acme": "globex"}.get(one.tenant, "acme")) for one in ROWS])
    served = tokens_served(CALLS)
    assert cost(swapped) == cost(served)
    assert len(differences(swapped, served)) == 4


def test_cost_is_exact() -> None:
    metered = tokens_metered(ROWS)
    assert tokens_of_class(metered, "input") == 30
    assert tokens_of_class(metered, "input", tenant="acme") == 20
    assert (cost(metered), cost(metered, tenant="globex")) == (Decimal(54), Decimal(18))
