"""Links that are cut out of many spans at once are those of each."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from spanmeter.usage.span import pack_link
from spanmeter.wire.links import pack_links
from spanmeter.wire.request import Rejections, id_fault
from tests.unit.wire.bodies import field

Made = tuple[bytes, bytes, bytes, bytes]
"""A span, and its ids; the parent's may be empty."""

ORDER = (1, 2, 3, 4, 5)
LATE = (1, 2, 5, 4, 3)
states = st.sampled_from(["", "a=b", '"\x08abcdefgh', "x" * 200])
names = st.text(max_size=12) | st.sampled_from(["8 bytes!", '"\x08abcdefgh', '"' * 8, "x" * 300])


@st.composite
def usual(draw: st.DrawFn) -> Made:
    ids = draw(st.binary(min_size=16, max_size=16)), draw(st.binary(min_size=8, max_size=8))
    return made(*ids, draw(st.sampled_from([b"", b"parentid"])), name=draw(names))


@st.composite
def unusual(draw: st.DrawFn) -> Made:
    """Trace states, and parents elsewhere."""
    ids = draw(st.binary(min_size=16, max_size=16)), draw(st.binary(min_size=8, max_size=8))
    parent_id, order = draw(st.sampled_from([(b"", ORDER), (b"p", ORDER), (b"parentid", ORDER), (b"parentid", LATE)]))
    return made(*ids, parent_id, state=draw(states), name=draw(names), order=order)


@st.composite
def odd(draw: st.DrawFn) -> Made:
    return made(
        draw(st.sampled_from([b"t" * 16, bytes(8) + b"t" * 8, b"t" * 8 + bytes(8), bytes(16), b"", b"t" * 15])),
        draw(st.sampled_from([b"s" * 8, bytes(8), b"", b"s" * 9])),
        draw(st.sampled_from([b"p" * 8, b"", bytes(8), b'"\x08' * 4])),
        state=draw(states),
        name=draw(names),
        order=draw(st.permutations(ORDER)),
    )


def made(
    trace_id: bytes, span_id: bytes, parent_id: bytes, *, name: str, state: str = "", order: Sequence[int] = ORDER
) -> Made:
    values = (trace_id, span_id, state.encode(), parent_id, name.encode())
    fields = [field(number, values[number - 1]) for number in order if values[number - 1]]
    return b"".join(fields), trace_id, span_id, parent_id


@settings(deadline=None, max_examples=300)
@given(
    st.lists(usual(), max_size=30) | st.lists(usual() | unusual(), max_size=30) | st.lists(usual() | odd(), max_size=9)
)
def test_links_of_many_are_those_of_each(spans: list[Made]) -> None:
    expected, reasons = [], Rejections()
    for _, trace_id, span_id, parent_id in spans:
        if fault := id_fault(trace_id, span_id, parent_id):
            reasons.add(fault)
        else:
            expected.append(pack_link(trace_id, span_id, parent_id))
    rejections = Rejections()
    links = pack_links([span for span, *_ in spans], rejections)
    assert sorted(links[at : at + 32] for at in range(0, len(links), 32)) == sorted(expected)
    assert rejections == reasons
