"""LangChain's agent (a LangGraph graph) with a tool, and a chain."""

from langchain.agents import create_agent
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from tenants import HEADER, serve


@tool
def get_distance(body: str = "moon") -> str:
    """The distance to a celestial body."""
    return f"{body}: 384,400 km"


def ask(tenant):
    model = ChatOpenAI(model="gpt-4o-mini", api_key="none", default_headers={HEADER: tenant}, stream_usage=True)
    agent = create_agent(model, tools=[get_distance])
    agent.invoke({"messages": [("user", "How far is the moon?")]}, {"recursion_limit": 6})
    chain = ChatPromptTemplate.from_template("Tell me of {body}") | model
    chain.invoke({"body": "the sun"})
    for _ in chain.stream({"body": "mars"}):
        pass


if __name__ == "__main__":
    serve(ask)
