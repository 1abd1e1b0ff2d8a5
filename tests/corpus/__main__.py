"""`python -m tests.corpus [CASE…]`: the score, or what was decided on each span of some cases."""

import sys

from spanmeter.ledger.explanation import explanation
from tests.corpus.cases import FOLDER, all_cases, bill, read_case, settle


def main() -> None:
    for name in sys.argv[1:]:
        case = read_case(FOLDER / f"{name}.zip")
        settlement = settle(case)
        print(name, "over", dict(bill(settlement) - case.expected()), "under", dict(case.expected() - bill(settlement)))
        for decision in settlement.all_decisions():
            told = explanation(decision)
            print(f"  {told.outcome}: {told.reason}; {told.scope}; {told.model}; {told.tokens}; {told.tenant}")
    if sys.argv[1:]:
        return
    exact = over = under = total = count = 0
    for case in all_cases():
        want, got = case.expected(), bill(settle(case))
        count += 1
        exact += want == got
        over += (got - want).total()
        under += (want - got).total()
        total += want.total()
        if want != got:
            print(f"{case.name}: over {(got - want).total()}, under {(want - got).total()} of {want.total()}")
    print(
        f"exact {exact}/{count} = {100 * exact / count:.1f} %; over-billed {100 * over / total:.3f} %, "
        f"under-billed {100 * under / total:.3f} % of {total} tokens"
    )


if __name__ == "__main__":
    main()
