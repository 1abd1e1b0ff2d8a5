from hypothesis import given
from hypothesis import strategies as st

from spanmeter.delivery.split import divide

batches = st.integers(2, 64).map(lambda count: list(range(count)))


@given(batch=batches, bad=st.lists(st.integers(-3, 70)))
def test_parts_are_smaller_and_hold_everything_once(batch: list[int], bad: list[int]) -> None:
    parts = divide(batch, bad)
    assert sorted(item for part in parts for item in part) == batch
    assert all(0 < len(part) < len(batch) for part in parts)


def test_the_named_stand_alone_after_the_others() -> None:
    assert divide("abcde", (3, 1, 1, 9)) == [["a", "c", "e"], ["b"], ["d"]]


def test_when_all_are_named_each_stands_alone() -> None:
    assert divide("ab", (0, 1)) == [["a"], ["b"]]


def test_when_none_is_named_two_halves() -> None:
    assert divide("abcde", ()) == ["ab", "cde"]
