"""LiteLLM with its own OpenTelemetry callback, beside the instrumentation of the client that it uses.

Streams are consumed asynchronously: LiteLLM reports a synchronous one from a thread that does not know the request, so
that its span names no tenant, and it is parked.
"""

import asyncio
import os

import litellm
from tenants import HEADER, serve, serve_async

litellm.callbacks = ["otel"]
MESSAGES = [{"role": "user", "content": "How far is the moon?"}]


def common(tenant):
    return {
        "model": "openai/gpt-4o-mini",
        "messages": MESSAGES,
        "api_base": os.environ["OPENAI_BASE_URL"],
        "api_key": "none",
        "extra_headers": {HEADER: tenant},
    }


def ask(tenant):
    litellm.completion(**common(tenant))


async def ask_async(tenant):
    await litellm.acompletion(**common(tenant))
    stream = await litellm.acompletion(**common(tenant), stream=True, stream_options={"include_usage": True})
    async for _ in stream:
        pass
    await asyncio.sleep(3)  # callbacks run in tasks of their own


if __name__ == "__main__":
    serve(ask)
    serve_async(ask_async)
