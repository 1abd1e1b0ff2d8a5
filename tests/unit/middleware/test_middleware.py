"""The tenant of a request, with plain ASGI and WSGI callables."""

import asyncio
import io
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

import spanmeter
from spanmeter.binding import bound
from spanmeter.middleware import TenantMiddleware, WsgiTenantMiddleware


def who() -> str:
    held = bound()
    return f"{held.tenant} {dict(held.dimensions)}" if held is not None else "-"


def run_asgi(tenant: Any, *, kind: str = "http", fails: bool = False) -> list[str]:
    """What is bound inside of an application, before it answers and between two parts of its body."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        seen.append(who())
        for _ in range(2):
            await send(who())
        if fails:
            raise KeyError("the application's own")

    async def receive() -> None: ...

    async def send(message: str) -> None:
        await asyncio.sleep(0)
        seen.append(message)

    async def main() -> None:
        try:
            await TenantMiddleware(app, tenant=tenant)({"type": kind, "user": "acme"}, receive, send)
        finally:
            assert bound() is None

    asyncio.run(main())
    return seen


class TestAsgi:
    @pytest.mark.parametrize("kind", ["http", "websocket"])
    def test_bound_until_the_end_of_the_answer(self, kind: str) -> None:
        assert run_asgi(lambda scope: scope["user"], kind=kind) == ["acme {}"] * 3

    def test_an_async_callable_and_dimensions(self) -> None:
        async def tenant(scope: Any) -> object:
            await asyncio.sleep(0)
            return spanmeter.tenant(scope["user"], tier="gold")

        assert run_asgi(tenant) == ["acme {'tier': 'gold'}"] * 3

    def test_nobody(self) -> None:
        assert run_asgi(lambda scope: None) == ["-"] * 3

    def test_other_scopes_are_passed_through(self) -> None:
        asked: list[object] = []
        assert run_asgi(asked.append, kind="lifespan") == ["-"] * 3
        assert asked == []

    def test_the_application_s_error_is_its_own(self) -> None:
        with pytest.raises(KeyError, match="own"):
            run_asgi(lambda scope: "acme", fails=True)

    @pytest.mark.parametrize("named", ["sk-secret", "", 1.5, "x" * 600], ids=["raises", "empty", "number", "long"])
    def test_a_callable_that_fails_breaks_no_request(self, named: Any, caplog: pytest.LogCaptureFixture) -> None:
        def tenant(scope: Any) -> Any:
            return scope[named] if named == "sk-secret" else named

        assert run_asgi(tenant) == ["-"] * 3
        assert run_asgi(tenant) == ["-"] * 3
        assert {record.levelno for record in caplog.records} == {logging.ERROR}
        assert "no tenant for a request" in caplog.text
        assert "secret" not in caplog.text


class Body:
    """An answer that says at each step what is bound."""

    closed = ""

    def __iter__(self) -> Iterator[bytes]:
        with spanmeter.dimensions(step="inner"):
            yield who().encode()
            yield who().encode()
        yield who().encode()

    def close(self) -> None:
        self.closed = who()


class TestWsgi:
    def test_bound_while_the_body_is_produced(self) -> None:
        body = Body()

        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Body:
            start_response("200 OK", [("x-tenant", who())])
            return body

        started: list[Any] = []
        answer = WsgiTenantMiddleware(app, tenant=lambda environ: environ["REMOTE_USER"])(
            {"REMOTE_USER": "acme"}, lambda *args: started.append(args)
        )
        seen = []
        with spanmeter.tenant("server"):
            for piece in answer:
                seen.append(piece.decode())
                assert who() == "server {}"
        answer.close()  # type: ignore[attr-defined]
        assert started == [("200 OK", [("x-tenant", "acme {}")])]
        assert seen == ["acme {'step': 'inner'}", "acme {'step': 'inner'}", "acme {}"]
        assert body.closed == "acme {}"
        assert bound() is None

    @pytest.mark.parametrize("body", [[b"a", b"b"], (b"a",), io.BytesIO(b"a")])
    def test_a_finished_body_and_a_file_stay_what_they_are(self, body: Any) -> None:
        made = WsgiTenantMiddleware(lambda environ, start_response: body, tenant=lambda environ: "acme")
        assert made({"wsgi.file_wrapper": io.BytesIO}, lambda *_: None) is body

    def test_nobody_and_failures(self, caplog: pytest.LogCaptureFixture) -> None:
        body = Body()
        for tenant in (lambda environ: None, lambda environ: environ["nothing"]):
            made = WsgiTenantMiddleware(lambda environ, start_response: body, tenant=tenant)
            assert made({}, lambda *_: None) is body
        assert caplog.text.count("no tenant for a request") == 1
