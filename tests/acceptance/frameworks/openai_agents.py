"""The OpenAI Agents SDK, over chat completions and over the Responses API."""

from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner
from openai import AsyncOpenAI
from tenants import HEADER, serve_async


async def ask(tenant):
    client = AsyncOpenAI(api_key="none", default_headers={HEADER: tenant})
    for kind in (OpenAIChatCompletionsModel, OpenAIResponsesModel):
        agent = Agent(name="astronomer", model=kind(model="gpt-4o-mini", openai_client=client))
        await Runner.run(agent, "How far is the moon?")


if __name__ == "__main__":
    serve_async(ask)
