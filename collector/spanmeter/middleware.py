"""Who pays, from the authenticated request: middleware for ASGI and WSGI applications.

`tenant` is a callable of the application's: it is given the connection's scope (ASGI) or environ (WSGI) and returns the
customer's name, a `spanmeter.tenant(…)` with dimensions, or None to bind nothing. It runs where the middleware stands:
put that inside of what authenticates. What it raises, or returns that can be no tenant, is logged, and the request
goes on with nothing bound. The standard library only.
"""

import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from contextlib import nullcontext
from typing import Any, Final

from spanmeter.binding import Binding, Stretch, tenant
from spanmeter.clock import SystemClock
from spanmeter.logs import Complaints

log = logging.getLogger("spanmeter.middleware")

Scope = MutableMapping[str, Any]
AsgiApp = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]
WsgiApp = Callable[..., Iterable[bytes]]
Named = str | int | Binding | None

REQUESTS: Final = frozenset({"http", "websocket"})


class TenantMiddleware:
    """ASGI: binds the tenant for a whole HTTP request or WebSocket connection, the streamed body included.

        app.add_middleware(TenantMiddleware, tenant=lambda scope: scope["user"].customer_id)

    `tenant` may be async. Other scopes, such as lifespan, are passed through.
    """

    def __init__(self, app: AsgiApp, tenant: Callable[[Scope], Named | Awaitable[Named]]) -> None:
        self._app = app
        self._tenant = tenant
        self._failures = _Failures()

    async def __call__(
        self, scope: Scope, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        binding = await self._binding(scope) if scope["type"] in REQUESTS else None
        with binding or nullcontext():
            await self._app(scope, receive, send)

    async def _binding(self, scope: Scope) -> Binding | None:
        try:
            named = self._tenant(scope)
            return _binding(await named if inspect.isawaitable(named) else named)
        except Exception as error:  # noqa: BLE001 - a guest does not break its host
            self._failures.tell(error)
            return None


class WsgiTenantMiddleware:
    """WSGI: binds the tenant while the application is called and while its answer is produced.

    application = WsgiTenantMiddleware(application, tenant=lambda environ: environ["REMOTE_USER"])
    """

    def __init__(self, app: WsgiApp, tenant: Callable[[dict[str, Any]], Named]) -> None:
        self._app = app
        self._tenant = tenant
        self._failures = _Failures()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            binding = _binding(self._tenant(environ))
        except Exception as error:  # noqa: BLE001 - a guest does not break its host
            self._failures.tell(error)
            binding = None
        if binding is None:
            return self._app(environ, start_response)
        stretch = Stretch(binding)
        with stretch:
            body = self._app(environ, start_response)
        # A list is finished; a file is the server's to send, which knows it by its type (PEP 3333).
        wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(body, list | tuple) or (isinstance(wrapper, type) and isinstance(body, wrapper)):
            return body
        return _Body(stretch, body)


class _Body:
    """An answer that is produced while the server asks for it."""

    def __init__(self, stretch: Stretch, body: Iterable[bytes]) -> None:
        self._stretch = stretch
        self._body = body
        self._pieces: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._stretch:
            if self._pieces is None:
                self._pieces = iter(self._body)
            return next(self._pieces)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            with self._stretch:
                close()


def _binding(named: Named) -> Binding | None:
    return named if named is None or isinstance(named, Binding) else tenant(named)


class _Failures:
    """Says what went wrong, seldom, and never with a request's values, which an error's words may quote."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._complaints = Complaints(log, clock=SystemClock())

    def tell(self, error: Exception) -> None:
        at = error.__traceback__
        while at is not None and at.tb_next is not None:
            at = at.tb_next
        where = f"{at.tb_frame.f_code.co_filename}:{at.tb_lineno}" if at is not None else "?"
        with self._lock:
            self._complaints.tell(
                logging.ERROR, "no tenant for a request: %s in %s; it goes on", type(error).__name__, where
            )
