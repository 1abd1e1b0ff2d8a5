"""Who pays, said in code: `with spanmeter.tenant("acme"):`, or as a decorator.

It binds in a context variable and does nothing else. Where the plug-in is in the process, it asks at the start of each
span what is bound. The standard library only, and little of it: an application imports this.
"""

import functools
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar

from spanmeter.errors import BindingError

MOST_CHARACTERS: Final = 512
OWN_NAMES: Final = frozenset({"type", "tokens", "model", "provider", "operation", "estimated"})
"""What spanmeter itself writes into an event's `data`: no dimension may be called so."""

P = ParamSpec("P")
R = TypeVar("R")


class Bound:
    """What holds at one place of the code; immutable. `dimensions` holds for `tenant`, `general` for whoever is bound
    next: it was bound outside of any tenant. `outer` is what holds when `source` has ended."""

    __slots__ = ("dimensions", "general", "outer", "source", "tenant")

    def __init__(self, source: "Binding", outer: "Bound | None") -> None:
        before = outer or NOTHING
        self.source = source
        self.outer = outer
        self.tenant: str = source.tenant or before.tenant
        another = self.tenant != before.tenant
        self.dimensions: Mapping[str, str] = {**(before.general if another else before.dimensions), **source.dimensions}
        self.general: Mapping[str, str] = before.general if self.tenant else self.dimensions


class _Nothing(Bound):
    __slots__ = ()

    def __init__(self) -> None:
        self.tenant = ""
        self.dimensions = self.general = {}


NOTHING: Final = _Nothing()
_bound: "ContextVar[Bound | None]" = ContextVar("spanmeter_bound", default=None)
bound: "Callable[[], Bound | None]" = _bound.get
"""What is bound here and now; None for nothing."""


class Binding:
    """A tenant, dimensions or both, for a block or for a function. May be used again, nested, and by several threads
    and tasks at once. The innermost tenant wins; dimensions add up until another tenant is named."""

    __slots__ = ("dimensions", "tenant")

    def __init__(self, tenant: str, dimensions: Mapping[str, str]) -> None:
        self.tenant = tenant
        self.dimensions = dimensions

    def __enter__(self) -> Self:
        _bound.set(Bound(self, _bound.get()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Not by a token: a generator may be gone on with, and closed, in another context than it began in.
        at = _bound.get()
        while at is not None and at.source is not self:
            at = at.outer
        if at is not None:
            _bound.set(at.outer)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """`function` under this binding: plain, async, a generator or an async generator. What a generator's consumer
        does between two values is not under it."""
        import inspect  # noqa: PLC0415 - whoever only binds blocks need not load it

        plain = inspect.isroutine(function) or isinstance(function, functools.partial)
        code: Any = function if plain else type(function).__call__
        made: Any
        if inspect.isasyncgenfunction(code):
            made = self._async_generator_function(function)
        elif inspect.iscoroutinefunction(code):
            made = self._coroutine_function(function)
        elif inspect.isgeneratorfunction(code):
            made = self._generator_function(function)
        else:
            made = self._function(function)
        result: Callable[P, R] = functools.update_wrapper(made, function)
        return result

    def _function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def under_tenant(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return under_tenant

    def _coroutine_function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def under_tenant(*args: Any, **kwargs: Any) -> Any:
            with self:
                return await function(*args, **kwargs)

        return under_tenant

    def _generator_function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def under_tenant(*args: Any, **kwargs: Any) -> Any:
            return (yield from _Steps(Stretch(self), function(*args, **kwargs)))

        return under_tenant

    def _async_generator_function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def under_tenant(*args: Any, **kwargs: Any) -> Any:
            inner: AsyncGenerator[Any, Any] = function(*args, **kwargs)
            stretch = Stretch(self)
            step = inner.__anext__()
            while True:
                with stretch:
                    try:
                        value = await step
                    except StopAsyncIteration:
                        return
                try:
                    sent = yield value
                except GeneratorExit:
                    with stretch:
                        await inner.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001 - the inner generator's to handle
                    step = inner.athrow(error)
                else:
                    step = inner.asend(sent)

        return under_tenant


class Stretch:
    """A binding that is entered many times, once for each stretch of something that runs in stretches. What the inside
    bound when a stretch ended holds again in the next one."""

    def __init__(self, binding: Binding) -> None:
        self._binding = binding
        self._inside: Bound | None = None
        self._outside: Bound | None = None

    def __enter__(self) -> None:
        self._outside = _bound.get()
        _bound.set(self._inside or Bound(self._binding, self._outside))

    def __exit__(self, *_: object) -> None:
        self._inside = _bound.get()
        _bound.set(self._outside)


class _Steps(Generator[Any, Any, Any]):
    """A generator that goes on under a binding, however it is gone on with."""

    def __init__(self, stretch: Stretch, inner: Generator[Any, Any, Any]) -> None:
        self._stretch = stretch
        self._inner = inner

    def send(self, value: Any) -> Any:
        with self._stretch:
            return self._inner.send(value)

    def throw(self, *args: Any) -> Any:
        with self._stretch:
            return self._inner.throw(*args)

    def close(self) -> None:
        with self._stretch:
            self._inner.close()


def tenant(name: str | int, /, **dimensions: str | float | None) -> Binding:
    """Everything inside is billed to `name`, with `dimensions` in its events' `data`.

        with spanmeter.tenant("acme", tier="gold"):
            client.chat.completions.create(...)

        @spanmeter.tenant("acme")
        async def answer(question): ...

    Follows context variables: into asyncio tasks, `asyncio.to_thread` and whatever else copies the context, not into a
    `threading.Thread` or an executor's `submit`: `Thread(target=contextvars.copy_context().run, args=(work,))`.
    Raises `BindingError`, a `ValueError`, if `name` cannot be a tenant. A dimension that is None is left out.
    """
    return Binding(_tenant(name), _dimensions(dimensions))


def dimensions(**named: str | float | None) -> Binding:
    """Further names in `data` for everything inside, whoever the tenant is."""
    return Binding("", _dimensions(named))


def is_name(text: str) -> bool:
    """Whether `text` can stand for a customer. Never cut or mended: that would be another customer."""
    return 0 < len(text) <= MOST_CHARACTERS and text.isprintable()


def _tenant(name: object) -> str:
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise BindingError(f"a tenant is a text, not {type(name).__name__}", hint="pass str(…) of the customer's id")
    text = str(name).strip()
    if not text:
        raise BindingError("a tenant's name is empty", hint="bind nothing where there is no customer")
    if not is_name(text):
        what = f"{len(text)} characters long" if len(text) > MOST_CHARACTERS else "not printable"
        raise BindingError(f"a tenant's name is {what}: at most {MOST_CHARACTERS} printable characters can be one")
    return text


def _dimensions(named: Mapping[str, object]) -> dict[str, str]:
    found = {}
    for name, value in named.items():
        if value is None:
            continue
        if name in OWN_NAMES or not name.isidentifier() or not name.isascii():
            problem = "spanmeter's own name" if name in OWN_NAMES else "not made of letters, digits and underscores"
            raise BindingError(f"dimension {name[:80]!r} is {problem}")
        if not isinstance(value, str | int | float):
            raise BindingError(f"dimension {name} is a {type(value).__name__}: texts and numbers can be one")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if text and not is_name(text):
            raise BindingError(f"dimension {name} is not printable or has more than {MOST_CHARACTERS} characters")
        found[name] = text
    return found
