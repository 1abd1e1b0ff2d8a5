"""LiteLLM with its own OpenTelemetry callback, beside the instrumentation of the client that it uses."""

import os

import litellm
from tenants import HEADER, serve

MESSAGES = [{"role": "user", "content": "How far is the moon?"}]


def ask(tenant):
    common = {"api_base": os.environ["OPENAI_BASE_URL"], "api_key": "none", "extra_headers": {HEADER: tenant}}
    litellm.completion(model="openai/gpt-4o-mini", messages=MESSAGES, **common)
    for _ in litellm.completion(
        model="openai/gpt-4o-mini",
        messages=MESSAGES,
        stream=True,
        stream_options={"include_usage": True},
        **common,
    ):
        pass


if __name__ == "__main__":
    serve(ask)
