import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanmeter.usage.call import TokenClass, Usage
from spanmeter.usage.counting import disjoint
from spanmeter.usage.event import counted

counts = st.integers(min_value=0, max_value=10**6)


class TestDisjoint:
    def test_included_by_the_conventions(self) -> None:
        found = disjoint(100, 50, cache_read=30, cache_write=10, reasoning=20)
        assert found == Usage(input=60, cache_read=30, cache_write=10, output=30, reasoning=20)

    def test_the_total_says_that_cache_is_apart(self) -> None:
        # Bedrock Converse: inputTokens excludes the cache, totalTokens includes it.
        found = disjoint(100, 50, cache_read=30, cache_write=10, total=190)
        assert found == Usage(input=100, cache_read=30, cache_write=10, output=50)

    def test_the_total_says_that_reasoning_is_apart(self) -> None:
        # Gemini: total = prompt + candidates + thoughts.
        assert disjoint(100, 50, reasoning=20, total=170) == Usage(input=100, output=50, reasoning=20)

    def test_the_total_overrules_what_is_known_of_the_emitter(self) -> None:
        found = disjoint(100, 50, cache_read=30, total=150, cache_included=False)
        assert found == Usage(input=70, cache_read=30, output=50)

    def test_a_part_larger_than_its_whole_is_apart(self) -> None:
        assert disjoint(10, 5, cache_read=30, reasoning=7) == Usage(input=10, cache_read=30, output=5, reasoning=7)

    @given(counts, counts, counts, counts, counts, st.none() | counts, st.booleans(), st.booleans())
    def test_no_class_is_negative(
        self, inp: int, out: int, read: int, write: int, think: int, total: int | None, cache: bool, reason: bool
    ) -> None:
        usage = disjoint(
            inp, out, cache_read=read, cache_write=write, reasoning=think, total=total,
            cache_included=cache, reasoning_included=reason,
        )  # fmt: skip
        assert min(usage.input, usage.cache_read, usage.cache_write, usage.output, usage.reasoning) >= 0
        assert usage.all_input in (inp, inp + read + write)
        assert usage.all_output in (out, out + think)


@pytest.mark.parametrize(
    "classes", [("input", "output"), ("input", "cache_read", "output"), tuple(TokenClass)], ids=["two", "three", "five"]
)
@given(usage=st.builds(Usage, input=counts, cache_read=counts, cache_write=counts, output=counts, reasoning=counts))
def test_billed_classes_add_up_to_the_total(classes: tuple[str, ...], usage: Usage) -> None:
    billed = counted(usage, [TokenClass(name) for name in classes])
    assert sum(tokens for _, tokens in billed) == usage.total
    assert all(tokens > 0 for _, tokens in billed)
