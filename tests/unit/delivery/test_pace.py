import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanmeter.delivery.pace import Pace


@pytest.mark.parametrize(("attempt", "ceiling"), [(1, 0.5), (2, 1.0), (3, 2.0), (7, 32.0), (8, 60.0), (9, 60.0)])
def test_the_ceiling_doubles_up_to_the_cap(attempt: int, ceiling: float) -> None:
    assert Pace().backoff_s(attempt, floor_s=None, random=lambda: 1.0) == ceiling
    assert Pace().backoff_s(attempt, floor_s=None, random=lambda: 0.0) == 0.0


@given(attempt=st.integers(1, 10**9), floor=st.floats(0, 3600), draw=st.floats(0, 1, exclude_max=True))
def test_never_under_the_floor_and_never_far_above(attempt: int, floor: float, draw: float) -> None:
    wait = Pace().backoff_s(attempt, floor_s=floor, random=lambda: draw)
    assert floor <= wait <= floor + 60.0
