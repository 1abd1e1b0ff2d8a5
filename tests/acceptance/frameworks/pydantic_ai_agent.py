"""pydantic-ai's agent with its own instrumentation, beside that of the client that it uses."""

from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from tenants import HEADER, serve_async

Agent.instrument_all()


async def ask(tenant):
    client = AsyncOpenAI(api_key="none", default_headers={HEADER: tenant})
    agent = Agent(OpenAIChatModel("gpt-4o-mini", provider=OpenAIProvider(openai_client=client)))
    await agent.run("How far is the moon?")
    await agent.run("How far is the sun?")


if __name__ == "__main__":
    serve_async(ask)
