"""A stream, or the HTTP response of one, without the chunk that only came since usage was asked for.

Everything else is passed through to the object inside, whatever it is: the client's own or an instrumentation's.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Self


def is_extra(chunk: Any) -> bool:
    """Whether a chunk has counts and no choices. The first one of Azure's has neither."""
    if isinstance(chunk, Mapping):
        return chunk.get("choices") == [] and bool(chunk.get("usage"))
    return getattr(chunk, "choices", None) == [] and getattr(chunk, "usage", None) is not None


def without_null(chunk: Any) -> Any:
    """All other chunks say `"usage": null` where usage was asked for: as if that had not been said."""
    if getattr(chunk, "usage", 0) is None:
        with suppress(AttributeError):
            chunk.model_fields_set.discard("usage")
    return chunk


class _Proxy:
    """In every other respect the object inside. Not of wrapt: its proxies have a length and can be iterated whatever is
    inside, and some frameworks look for that before they look at what they were given."""

    __wrapped__: Any

    def __init__(self, wrapped: Any) -> None:
        object.__setattr__(self, "__wrapped__", wrapped)

    @property  # type: ignore[misc]  # nobody sets it
    def __class__(self) -> Any:  # for isinstance
        return self.__wrapped__.__class__

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "__wrapped__"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__wrapped__, name, value)

    def __repr__(self) -> str:
        return repr(self.__wrapped__)


class Stream(_Proxy):
    """A `Stream` of chunks."""

    def __iter__(self) -> Iterator[Any]:
        for chunk in self.__wrapped__:
            if not is_extra(chunk):
                yield without_null(chunk)

    def __next__(self) -> Any:
        while is_extra(chunk := next(self.__wrapped__)):
            pass
        return without_null(chunk)

    def __enter__(self) -> Self:
        self.__wrapped__.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self.__wrapped__.__exit__(*error)


class AsyncStream(_Proxy):
    """An `AsyncStream` of chunks."""

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for chunk in self.__wrapped__:
            if not is_extra(chunk):
                yield without_null(chunk)

    async def __anext__(self) -> Any:
        while is_extra(chunk := await anext(self.__wrapped__)):
            pass
        return without_null(chunk)

    async def __aenter__(self) -> Self:
        await self.__wrapped__.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> Any:
        return await self.__wrapped__.__aexit__(*error)


class Response(_Proxy):
    """What `with_raw_response` gives, and `with_streaming_response`: parsed, or read as text or bytes."""

    def parse(self, *args: Any, **kwargs: Any) -> Any:
        return Stream(self.__wrapped__.parse(*args, **kwargs))

    @property
    def text(self) -> Any:
        text = self.__wrapped__.text  # a method, or a text in older forms
        return (lambda: _whole_text(text())) if callable(text) else _whole_text(text)

    def read(self) -> bytes:
        return _whole(self.__wrapped__.read())

    def iter_bytes(self, *args: Any, **kwargs: Any) -> Iterator[bytes]:
        events = _Events()
        for piece in self.__wrapped__.iter_bytes(*args, **kwargs):
            if kept := events.take(piece):
                yield kept
        if rest := events.rest():
            yield rest

    def iter_text(self, *args: Any, **kwargs: Any) -> Iterator[str]:
        events = _Events()
        for piece in self.__wrapped__.iter_text(*args, **kwargs):
            if kept := events.take(piece.encode()):
                yield kept.decode()
        if rest := events.rest():
            yield rest.decode()

    def iter_lines(self) -> Iterator[str]:
        lines = _Lines()
        for line in self.__wrapped__.iter_lines():
            yield from lines.take(line)
        yield from lines.rest()


class AsyncResponse(Response):
    """The same of the async client."""

    def parse(self, *args: Any, **kwargs: Any) -> Any:
        parsed = self.__wrapped__.parse(*args, **kwargs)
        # `with_raw_response` parses without waiting, `with_streaming_response` does not.
        return _later(parsed, AsyncStream) if hasattr(parsed, "__await__") else AsyncStream(parsed)

    @property
    def text(self) -> Any:
        text = self.__wrapped__.text
        return (lambda: _later(text(), _whole_text)) if callable(text) else _whole_text(text)

    def read(self) -> Any:
        return _later(self.__wrapped__.read(), _whole)

    async def iter_bytes(self, *args: Any, **kwargs: Any) -> AsyncIterator[bytes]:  # type: ignore[override]
        events = _Events()
        async for piece in self.__wrapped__.iter_bytes(*args, **kwargs):
            if kept := events.take(piece):
                yield kept
        if rest := events.rest():
            yield rest

    async def iter_text(self, *args: Any, **kwargs: Any) -> AsyncIterator[str]:  # type: ignore[override]
        events = _Events()
        async for piece in self.__wrapped__.iter_text(*args, **kwargs):
            if kept := events.take(piece.encode()):
                yield kept.decode()
        if rest := events.rest():
            yield rest.decode()

    async def iter_lines(self) -> AsyncIterator[str]:  # type: ignore[override]
        lines = _Lines()
        async for line in self.__wrapped__.iter_lines():
            for kept in lines.take(line):
                yield kept
        for kept in lines.rest():
            yield kept


async def _later(awaitable: Any, then: Callable[[Any], Any]) -> Any:
    return then(await awaitable)


class _Events:
    """Server-sent events in pieces of bytes: each is let through when it is whole, but for the extra one."""

    def __init__(self) -> None:
        self._pending = b""

    def take(self, piece: bytes) -> bytes:
        """What may go on of all that came."""
        self._pending += piece
        kept = b""
        while True:
            ends = [(at, end) for end in (b"\n\n", b"\r\n\r\n") if (at := self._pending.find(end)) >= 0]
            if not ends:
                return kept
            at, end = min(ends)
            event, self._pending = self._pending[: at + len(end)], self._pending[at + len(end) :]
            if not _is_extra_event(event.decode(errors="replace").splitlines()):
                kept += event

    def rest(self) -> bytes:
        """What came after the last whole event."""
        return self._pending


class _Lines:
    """The same in lines; an event ends with an empty one."""

    def __init__(self) -> None:
        self._pending: list[str] = []

    def take(self, line: str) -> list[str]:
        self._pending.append(line)
        if line:
            return []
        event, self._pending = self._pending, []
        return [] if _is_extra_event(event) else event

    def rest(self) -> list[str]:
        return self._pending


def _is_extra_event(lines: list[str]) -> bool:
    data = "\n".join(line.removeprefix("data:") for line in lines if line.startswith("data:"))
    try:
        return is_extra(json.loads(data))
    except ValueError:
        return False


def _whole(body: bytes) -> bytes:
    events = _Events()
    return events.take(body) + events.rest()


def _whole_text(body: str) -> str:
    return _whole(body.encode()).decode()
