"""Calls told apart beforehand are billed as they would be among all others: on every capture of the corpus."""

from collections.abc import Mapping, Sequence
from unittest.mock import patch

from spanmeter.usage import grouping
from spanmeter.usage.call import SpanFacts
from spanmeter.usage.trace import Trace
from tests.corpus.cases import all_cases, settle


def among_all(traces: Mapping[bytes, Trace], older: Sequence[SpanFacts]) -> tuple[list[SpanFacts], list[SpanFacts]]:
    return [], [span for trace in traces.values() for span in trace.calls_of_models()]


def test_the_same_bills_and_decisions() -> None:
    told_apart = 0
    for case in all_cases():
        found = settle(case)
        with patch.object(grouping, "_told_apart", among_all):
            general = settle(case)
        assert (found.all_decisions(), [*found.all_bodies()], found.tallies) == (
            general.all_decisions(),
            [*general.all_bodies()],
            general.tallies,
        )
        told_apart += len([*found.all_bodies()])
    assert told_apart > 0
