"""A FastAPI application and a WSGI one; the tenant comes from a header of the request, as from its authentication."""

from openai import AsyncOpenAI, OpenAI
from opentelemetry import trace
from tenants import HEADER

MESSAGES = [{"role": "user", "content": "How far is the moon?"}]


def fastapi_app():
    from fastapi import FastAPI, Request

    app = FastAPI()

    @app.post("/ask")
    async def ask(request: Request):
        tenant = request.headers[HEADER]
        trace.get_current_span().set_attribute("tenant.id", tenant)
        async with AsyncOpenAI(api_key="none", default_headers={HEADER: tenant}) as client:
            await client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
        return {"ok": True}

    return app


def wsgi_app(environ, start_response):
    tenant = environ["HTTP_X_DEMO_TENANT"]
    with trace.get_tracer("server").start_as_current_span("POST /ask", attributes={"tenant.id": tenant}):
        OpenAI(api_key="none", default_headers={HEADER: tenant}).chat.completions.create(
            model="gpt-4o-mini", messages=MESSAGES
        )
    start_response("200 OK", [("content-type", "text/plain"), ("content-length", "3")])
    return [b"ok\n"]
