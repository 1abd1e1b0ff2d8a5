"""What several cores recognise is what one does, in the same order, whether it fits into the memory that all have."""

from collections.abc import Iterator

import pytest

from spanmeter.pipeline import cores
from spanmeter.pipeline.recorded import recorded_entries
from spanmeter.settings import load
from spanmeter.wire.files import Piece
from tests.unit.wire.bodies import add_span, request

SIZES = [1, 900, 5, 40, 2_000, 3, 7_000, 0, 12, 450] * 3


def pieces() -> Iterator[Piece]:
    """Each with one span, which has a text of that size."""
    for number, size in enumerate(SIZES, start=1):
        message, spans = request()
        add_span(spans, {"tenant.id": f"tenant-{number}", "note": "x" * size}, span_id=number.to_bytes(8, "big"))
        body = message.SerializeToString()
        yield Piece(path="recorded", place=f"{number}: ", body=body, is_json=False, position=0)


@pytest.mark.parametrize("slot_bytes", [1, 500, 1_000, 3_000, 1 << 20])
def test_the_same_entries_in_the_same_order(monkeypatch: pytest.MonkeyPatch, slot_bytes: int) -> None:
    monkeypatch.setattr(cores, "BYTES_AT_ONCE", 600)
    monkeypatch.setattr(cores, "SLOT_BYTES", slot_bytes)
    settings = load({})
    found = list(cores.entries_on_cores(pieces(), settings, received_ns=1, jobs=2))
    expected = list(recorded_entries(pieces(), settings, received_ns=1))
    assert [(list(one.facts), one.links, one.spans) for one in found] == [
        (list(one.facts), one.links, one.spans) for one in expected
    ]
    assert len({facts.tenant for one in found for facts in one.facts}) == len(SIZES)


def test_slots_are_used_again() -> None:
    slots = cores._Slots(2)
    for number in range(10):
        bodies = [bytes([number]) * size for size in (3, 0, 5)]
        slot = slots.put(bodies)
        assert slot is not None
        other = slots.put([b"other"])
        assert slots.put([b"none is left"]) is None
        assert [*slots.bodies(slot, [3, 0, 5])] == bodies
        slots.free(slot)
        assert other is not None
        slots.free(other)
    assert slots.put([bytes(cores.SLOT_BYTES + 1)]) is None
    assert cores._Slots(0).put([b""]) is None
