"""Usage on streamed chat completions of the `openai` client, which reports none unless it is asked to.

`stream_options={"include_usage": true}` is added where the application says nothing about stream options. The service
then sends one more chunk, with the counts and without choices: the instrumentations of the client see it, and it is
taken out before the application does. For that the outermost layer around `Completions.create` has to be this one, also
where an instrumentation comes or goes later: around each of those it is lifted and put on again.

Source: openai-python 1.26 to 3.57, resources/chat/completions and types/chat/chat_completion_stream_options_param.py.
"""

import functools
import importlib
import logging
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import wrapt
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from spanmeter_instrumentation.stream_filter import AsyncResponse, AsyncStream, Response, Stream

log = logging.getLogger("spanmeter.plugin")

ASKED: Final = {"include_usage": True}
RAW_HEADER: Final = "x-stainless-raw-response"
"""What `with_raw_response` and `with_streaming_response` send to `create` (openai/_constants.py)."""
OWN_SERVICE: Final = "api.openai.com"
REFUSALS: Final = frozenset({400, 422})
MOST_REMEMBERED: Final = 1_000

Endpoint = tuple[str, str]
"""Base URL and model: behind one URL may be many services."""


class StreamUsage:
    """The layer around the client's methods. `install` and `uninstall` may be called again; neither raises."""

    def __init__(self) -> None:
        self._endpoints = _Endpoints()
        self._layers = [
            _Layer("Completions", self._create),
            _Layer("AsyncCompletions", self._create_async),
        ]
        self._lock = threading.Lock()
        self._hooks: dict[str, Any] = {}

    def install(self) -> None:
        for name in ("instrument", "uninstrument"):
            if name not in self._hooks:
                self._hooks[name] = getattr(BaseInstrumentor, name)
                setattr(BaseInstrumentor, name, self._around(self._hooks[name]))
        self._put_on()

    def uninstall(self) -> None:
        for name, original in self._hooks.items():
            setattr(BaseInstrumentor, name, original)
        self._hooks = {}
        self._lift()

    def _around(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def changed(instrumentor: Any, *args: Any, **kwargs: Any) -> Any:
            self._lift()
            try:
                return original(instrumentor, *args, **kwargs)
            finally:
                if self._hooks:
                    self._put_on()

        return changed

    def _put_on(self) -> None:
        with self._lock:
            for layer in self._layers:
                layer.put_on()

    def _lift(self) -> None:
        with self._lock:
            for layer in self._layers:
                layer.lift()

    def _create(self, create: Callable[..., Any], client: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        endpoint = self._endpoints.to_ask(client, kwargs)
        if endpoint is None:
            return create(*args, **kwargs)
        try:
            answer = create(*args, **{**kwargs, "stream_options": ASKED})
        except Exception as error:
            if not self._endpoints.may_refuse(endpoint, error):
                raise
            answer = create(*args, **kwargs)
            self._endpoints.remember(endpoint, takes=False)
            return answer
        self._endpoints.remember(endpoint, takes=True)
        return Response(answer) if is_raw(kwargs) else Stream(answer)

    async def _create_async(
        self, create: Callable[..., Awaitable[Any]], client: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        endpoint = self._endpoints.to_ask(client, kwargs)
        if endpoint is None:
            return await create(*args, **kwargs)
        try:
            answer = await create(*args, **{**kwargs, "stream_options": ASKED})
        except Exception as error:
            if not self._endpoints.may_refuse(endpoint, error):
                raise
            answer = await create(*args, **kwargs)
            self._endpoints.remember(endpoint, takes=False)
            return answer
        self._endpoints.remember(endpoint, takes=True)
        return AsyncResponse(answer) if is_raw(kwargs) else AsyncStream(answer)


class _Endpoints:
    """Which services are asked, and which are known to take it or to refuse."""

    def __init__(self) -> None:
        self._takes: dict[Endpoint, bool] = {}

    def to_ask(self, client: Any, kwargs: Mapping[str, Any]) -> Endpoint | None:
        """The endpoint of this call if it is to be asked for usage: a stream without a word on stream options, to a
        service that has not refused."""
        if kwargs.get("stream") is not True or not _is_left_out(kwargs.get("stream_options", _LEFT_OUT)):
            return None
        extra = kwargs.get("extra_body")
        if isinstance(extra, Mapping) and "stream_options" in extra:
            return None
        endpoint = str(getattr(getattr(client, "_client", None), "base_url", "")), str(kwargs.get("model"))
        return endpoint if self._takes.get(endpoint, True) else None

    def may_refuse(self, endpoint: Endpoint, error: Exception) -> bool:
        """Whether the call failed for what we added, as far as one can tell: some compatible servers take no field that
        they do not know. A service that took it before, and OpenAI's own, had another reason."""
        known = endpoint in self._takes or OWN_SERVICE in endpoint[0]
        return not known and getattr(error, "status_code", None) in REFUSALS

    def remember(self, endpoint: Endpoint, *, takes: bool) -> None:
        if endpoint not in self._takes and len(self._takes) >= MOST_REMEMBERED:
            self._takes.clear()
        if not takes:
            log.warning("%s takes no stream_options: streams of %s there are metered only if it sends usage", *endpoint)
        self._takes[endpoint] = takes


class _Layer:
    """One of the client's classes, and our wrapper around its `create` while it is on."""

    def __init__(self, class_name: str, wrapper: Callable[..., Any]) -> None:
        self._class_name = class_name
        self._wrapper = wrapper
        self._on: Any = None

    def put_on(self) -> None:
        """Around whatever is there. Twice is harmless: the inner one finds that stream options are said."""
        try:
            owner = self._owner()
            if owner is not None and owner.__dict__.get("create") is not self._on:
                self._on = wrapt.FunctionWrapper(owner.__dict__["create"], self._wrapper)
                owner.create = self._on
        except Exception:  # a guest does not break its host
            log.exception("streams of the openai client are left as they are")

    def lift(self) -> None:
        """Take it off if it is the outermost."""
        try:
            owner = self._owner() if self._on is not None else None
            if owner is not None and owner.__dict__.get("create") is self._on:
                owner.create = self._on.__wrapped__
                self._on = None
        except Exception:  # a guest does not break its host
            log.exception("streams of the openai client are left as they are")

    def _owner(self) -> Any:
        if "openai" not in sys.modules:
            return None
        return getattr(importlib.import_module("openai.resources.chat.completions"), self._class_name)


def is_raw(kwargs: Mapping[str, Any]) -> bool:
    """Whether the call asks for the HTTP response instead of the stream in it."""
    headers = kwargs.get("extra_headers")
    return isinstance(headers, Mapping) and any(str(name).lower() == RAW_HEADER for name in headers)


_LEFT_OUT: Final = object()


def _is_left_out(value: object) -> bool:
    """The client has words of its own for an argument that is not given."""
    return value is _LEFT_OUT or type(value).__name__ in ("NotGiven", "Omit")
