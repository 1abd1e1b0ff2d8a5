"""A time limit for a request as a whole. httpx's own bounds each read: a service that sends a byte now and then, in the
middle of its headers, would hold a request without end."""

import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx


class Deadline:
    """Of the request that the calling thread makes. httpcore reads and writes in the thread that asks."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._local = threading.local()

    @contextmanager
    def within(self, limit_s: float) -> Iterator[None]:
        self._local.until_s = self._monotonic() + limit_s
        try:
            yield
        finally:
            self._local.until_s = None

    def left_s(self, timeout_s: float | None) -> float | None:
        """What is left, at most `timeout_s`; 0 or less when it is over."""
        until_s: float | None = getattr(self._local, "until_s", None)
        if until_s is None:
            return timeout_s
        left_s = until_s - self._monotonic()
        return left_s if timeout_s is None else min(left_s, timeout_s)

    def keep(self, client: httpx.Client) -> None:
        """All connections of this client, also those through proxies, keep to the deadline. httpx has no argument for
        httpcore's `network_backend`; where it should cease to have these attributes, its own timeouts remain."""
        for transport in (client._transport, *client._mounts.values()):
            pool = getattr(transport, "_pool", None)
            if (backend := getattr(pool, "_network_backend", None)) is not None:
                setattr(pool, "_network_backend", _Backend(backend, self))  # noqa: B010 - no type has it


class _Backend(httpcore.NetworkBackend):
    def __init__(self, backend: httpcore.NetworkBackend, deadline: Deadline) -> None:
        self._backend = backend
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        left_s = _checked(self._deadline.left_s(timeout), httpcore.ConnectTimeout)
        stream = self._backend.connect_tcp(host, port, left_s, local_address, socket_options)
        return _Stream(stream, self._deadline)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _checked(self._deadline.left_s(timeout), httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _checked(self._deadline.left_s(timeout), httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left_s = _checked(self._deadline.left_s(timeout), httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left_s), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _checked(left_s: float | None, error: type[Exception]) -> float | None:
    if left_s is not None and left_s <= 0:
        raise error("the time for the whole request is over")
    return left_s
