"""The chunk that is taken out, of streams and of bytes in any pieces."""

import inspect
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Sized,
)
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanmeter_instrumentation.stream_filter import AsyncResponse, AsyncStream, Response, Stream, is_extra

KEPT = 'data: {"choices": [{"delta": {"content": "é\\u2028"}}], "usage": null}'
EXTRA = 'data: {"choices": [], "usage": {"prompt_tokens": 1}}'
FILTERED = 'data: {"choices": [], "prompt_filter_results": []}'
DONE = "data: [DONE]"


class Answer:
    """An HTTP response that comes in the given pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    def iter_bytes(self) -> Any:
        return iter(self.pieces)

    def read(self) -> bytes:
        return b"".join(self.pieces)

    def iter_lines(self) -> Any:
        return iter(self.read().decode().split("\n"))


@given(st.lists(st.sampled_from([KEPT, FILTERED, EXTRA, ": ping"])), st.sampled_from(["\n", "\r\n"]), st.data())
def test_bytes_in_any_pieces(events: list[str], newline: str, data: st.DataObject) -> None:
    end = newline * 2
    whole = "".join(event + end for event in [*events, DONE]).encode()
    expected = "".join(event + end for event in [*events, DONE] if event != EXTRA).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    pieces = [whole[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    response = Response(Answer(pieces))
    assert b"".join(response.iter_bytes()) == expected
    assert response.read() == expected
    if newline == "\n":
        assert "\n".join(response.iter_lines()) == expected.decode()


def test_what_is_not_whole_is_passed_on() -> None:
    cut = f"{KEPT}\n\n{KEPT[:20]}".encode()
    assert b"".join(Response(Answer([cut])).iter_bytes()) == cut
    assert b"".join(Response(Answer([b"no events at all"])).iter_bytes()) == b"no events at all"


@pytest.mark.parametrize(
    ("chunk", "extra"),
    [
        ({"choices": [], "usage": {"prompt_tokens": 1}}, True),
        ({"choices": [], "usage": None}, False),
        ({"choices": [{}], "usage": {"prompt_tokens": 1}}, False),
        ({"usage": {"prompt_tokens": 1}}, False),
        (SimpleNamespace(choices=[], usage=object()), True),
        (SimpleNamespace(choices=[], usage=None), False),
        (SimpleNamespace(choices=[1], usage=object()), False),
        (object(), False),
    ],
    ids=["extra", "azure-first", "with-choices", "no-choices", "object", "object-first", "object-choices", "other"],
)
def test_which_is_the_extra_one(chunk: object, extra: bool) -> None:
    assert is_extra(chunk) is extra


class Inner:
    """As the client's stream: `response` and more beside the iteration."""

    response = "the HTTP response"

    def __iter__(self) -> Iterator[int]:
        return iter((1, 2))

    def __next__(self) -> int:
        return 1

    def close(self) -> str:
        return "closed"


class AsyncInner:
    async def __aiter__(self) -> AsyncIterator[int]:
        yield 1

    async def __anext__(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("outer", "inner"),
    [(Stream, Inner()), (AsyncStream, AsyncInner()), (Response, Answer([])), (AsyncResponse, Answer([]))],
)
def test_frameworks_that_ask_what_it_is_are_told_what_is_inside(outer: Callable[[Any], Any], inner: object) -> None:
    """Some look before they iterate, await or measure what a client gave them."""
    wrapped = outer(inner)
    kinds = (Iterable, Iterator, AsyncIterable, AsyncIterator, Awaitable, Sized, Sequence, Mapping, Callable)
    assert isinstance(wrapped, type(inner))
    assert [isinstance(wrapped, kind) for kind in kinds] == [isinstance(inner, kind) for kind in kinds]  # type: ignore[arg-type]
    assert inspect.isawaitable(wrapped) is inspect.isawaitable(inner)
    for name in ("__iter__", "__aiter__", "__len__", "__getitem__", "__call__", "__await__"):
        assert hasattr(wrapped, name) is hasattr(inner, name), name


def test_everything_else_is_that_of_what_is_inside() -> None:
    inner = Inner()
    stream = Stream(inner)
    assert (stream.response, stream.close(), bool(stream)) == ("the HTTP response", "closed", True)
    stream.response = "another"
    assert inner.response == "another"
    with pytest.raises(AttributeError, match="nothing"):
        _ = stream.nothing
