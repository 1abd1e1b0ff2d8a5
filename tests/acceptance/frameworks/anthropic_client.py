"""Messages, plain and streamed."""

from anthropic import Anthropic
from tenants import HEADER, serve

MESSAGES = [{"role": "user", "content": "How far is the moon?"}]


def ask(tenant):
    client = Anthropic(api_key="none", default_headers={HEADER: tenant})
    client.messages.create(model="claude-sonnet-4-5", max_tokens=100, messages=MESSAGES)
    with client.messages.stream(model="claude-sonnet-4-5", max_tokens=100, messages=MESSAGES) as stream:
        for _ in stream.text_stream:
            pass


if __name__ == "__main__":
    serve(ask)
