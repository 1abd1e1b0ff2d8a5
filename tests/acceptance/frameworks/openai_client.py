"""Chat (plain, streamed, asynchronous, with tools), embeddings and the Responses API."""

from openai import AsyncOpenAI, OpenAI
from tenants import HEADER, serve, serve_async

MESSAGES = [{"role": "user", "content": "How far is the moon?"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_distance",
            "description": "Distance to a body",
            "parameters": {"type": "object", "properties": {"body": {"type": "string"}}},
        },
    }
]


def ask(tenant):
    client = OpenAI(api_key="none", default_headers={HEADER: tenant})
    client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    for _ in client.chat.completions.create(
        model="gpt-4o", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    ):
        pass
    client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, tools=TOOLS)
    client.embeddings.create(model="text-embedding-3-small", input="the moon")


def respond(tenant):
    client = OpenAI(api_key="none", default_headers={HEADER: tenant})
    client.responses.create(model="gpt-4o", input="How far is the moon?")
    for _ in client.responses.create(model="gpt-4o", input="How far is the sun?", stream=True):
        pass


async def ask_async(tenant):
    async with AsyncOpenAI(api_key="none", default_headers={HEADER: tenant}) as client:
        await client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
        stream = await client.chat.completions.create(
            model="gpt-4o-mini", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        async for _ in stream:
            pass


if __name__ == "__main__":
    import sys

    serve(ask)
    serve_async(ask_async)
    if "responses" in sys.argv:
        serve(respond)
