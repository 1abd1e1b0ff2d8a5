"""The LangChain callback handler: real LangChain runs, each in a process of its own, as what it feeds is."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from spanmeter.demo.provider import LocalProvider
from spanmeter.ledger.status import read_status
from spanmeter.store.database import Database
from spanmeter.testing.metering_service import MeteringService

pytest.importorskip("langchain_core", reason="needs langchain-core, of the extra `langchain`")

from spanmeter_instrumentation.langchain import passed_on

BEGIN = """
import asyncio, os, sys, warnings
from langchain_core.callbacks import CallbackManager
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel, FakeMessagesListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableLambda
from spanmeter_instrumentation.langchain import SpanmeterCallbackHandler
import spanmeter
handler = SpanmeterCallbackHandler()
def to(subject, **more):
    return {"callbacks": [handler], "metadata": {"subject": subject, **more}}
def message(text="SECRET ANSWER", **more):
    usage = {"input_tokens": 20, "output_tokens": 7, "total_tokens": 27,
        "input_token_details": {"cache_read": 8}, "output_token_details": {"reasoning": 3}}
    return AIMessage(text, **{"usage_metadata": usage, "response_metadata": {"model_name": "m-2"}} | more)
def fake(*messages):
    return FakeMessagesListChatModel(responses=list(messages) or [message()])
PROMPT = "SECRET PROMPT"
"""
OPENAI = """
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
llm = ChatOpenAI(model="gpt-4o-mini", api_key="local", base_url=os.environ["PROVIDER"], stream_usage=True)
"""


class World:
    """A service and a data folder for programs to run with."""

    def __init__(self, folder: Path, service: MeteringService) -> None:
        self.folder = folder
        self.service = service
        self.stderr = ""

    def run(self, code: str, **environ: str) -> str:
        """Run a program to its end; its output."""
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SPANMETER_", "KONN"))
        }
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=clean
            | {
                "SPANMETER_DATA_DIR": str(self.folder),
                "SPANMETER_ENDPOINT": self.service.url,
                "OPENAI_API_KEY": "local",
            }
            | environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        self.stderr = done.stderr
        return done.stdout

    def billed(self) -> dict[str, int]:
        """Tokens by subject and class."""
        found: dict[str, int] = {}
        for event in self.service.events:
            key = f"{event['subject']} {event['data']['type']}"
            found[key] = found.get(key, 0) + event["data"]["tokens"]
        return found

    def outcomes(self) -> dict[str, int]:
        database = Database.open_existing(self.folder)
        assert database is not None
        with closing(database):
            status = read_status(database)
        assert status.balanced
        return {f"{row.outcome}: {row.reason}": row.spans for row in status.outcomes}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with MeteringService() as service:
        yield World(tmp_path / "state", service)


def truth_of(provider: LocalProvider, subject: str) -> dict[str, int]:
    calls = provider.calls
    assert calls
    return {
        f"{subject} input": sum(call.input_tokens for call in calls),
        f"{subject} output": sum(call.output_tokens for call in calls),
    }


def test_subject_model_and_counts(world: World) -> None:
    world.run(
        BEGIN + 'fake().invoke(PROMPT, config=to("acme", team="x", seats=3))',
        SPANMETER_TOKEN_CLASSES="input,cache_read,cache_write,output,reasoning",
    )
    assert world.billed() == {"acme input": 12, "acme cache_read": 8, "acme output": 4, "acme reasoning": 3}
    data = [event["data"] for event in world.service.events]
    assert {(one["model"], one["operation"], one["team"], one["seats"]) for one in data} == {("m-2", "chat", "x", "3")}
    stored = b"".join(path.read_bytes() for path in world.folder.iterdir()) + json.dumps(data).encode()
    assert b"SECRET" not in stored
    assert world.stderr == ""


def test_runs_inherit_the_subject(world: World) -> None:
    world.run(
        BEGIN
        + """
inner = RunnableLambda(lambda text: fake().invoke(text).content)
chain = RunnableLambda(lambda text: text) | inner | inner
chain.invoke(PROMPT, config=to("acme"))
chain.batch([PROMPT] * 2, config=to("bolt"))
async def ask(text):
    return (await fake().ainvoke(text)).content
if sys.version_info >= (3, 11):
    asyncio.run(RunnableLambda(ask).ainvoke(PROMPT, config=to("cord")))
asyncio.run(fake().abatch([PROMPT] * 3, config=to("cord")))
"""
    )
    assert world.billed() == {
        "acme input": 40,
        "acme output": 14,
        "bolt input": 80,
        "bolt output": 28,
        "cord input": 80,
        "cord output": 28,
    }


def test_a_missing_subject_is_told_once_and_parks(world: World) -> None:
    world.run(
        BEGIN
        + """
for metadata in ({}, {"subject": ""}, {"subject": "x" * 600}, {"subject": None}):
    fake().invoke(PROMPT, config={"callbacks": [SpanmeterCallbackHandler()], "metadata": metadata})
"""
    )
    assert world.outcomes() == {"parked: no tenant": 4}
    assert world.stderr.count("has no subject") == 1
    assert "SECRET" not in world.stderr


def test_other_ways_to_name_the_tenant(world: World) -> None:
    world.run(
        BEGIN
        + """
from opentelemetry import baggage, context
with spanmeter.tenant("bound", tier="gold"):
    fake().invoke(PROMPT, config={"callbacks": [handler]})
    asyncio.run(fake().ainvoke(PROMPT, config={"callbacks": [handler]}))
    fake().invoke(PROMPT, config=to("acme"))
fake().invoke(PROMPT, config={"callbacks": [handler], "metadata": {"tenant_id": 42}})
context.attach(baggage.set_baggage("tenant.id", "carried"))
fake().invoke(PROMPT, config={"callbacks": [handler]})
"""
    )
    assert {key: tokens for key, tokens in world.billed().items() if "input" in key} == {
        "bound input": 40,
        "acme input": 20,
        "42 input": 20,
        "carried input": 20,
    }
    tiers = {event["subject"]: event["data"].get("tier") for event in world.service.events}
    assert tiers == {"bound": "gold", "acme": None, "42": None, "carried": None}
    assert world.stderr == ""


def test_errors_streams_and_streams_given_up(world: World) -> None:
    world.run(
        BEGIN
        + """
class Streams(GenericFakeChatModel):
    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        from langchain_core.outputs import ChatGenerationChunk
        usage = {"input_tokens": 5, "output_tokens": 0, "total_tokens": 5}
        yield ChatGenerationChunk(message=AIMessageChunk("a", usage_metadata=usage))
        usage = {"input_tokens": 0, "output_tokens": 2, "total_tokens": 2}
        yield ChatGenerationChunk(message=AIMessageChunk("b", usage_metadata=usage))
model = Streams(messages=iter([]))
list(model.stream(PROMPT, config=to("whole")))
for _ in model.stream(PROMPT, config=to("left")): break
class Fails(GenericFakeChatModel):
    def _generate(self, *args, **kwargs): raise RuntimeError("SECRET")
try: Fails(messages=iter([])).invoke(PROMPT, config=to("failed"))
except RuntimeError: pass
async def run():
    return [chunk async for chunk in model.astream(PROMPT, config=to("whole"))]
asyncio.run(run())
"""
    )
    assert world.billed() == {"whole input": 10, "whole output": 4, "left input": 5}
    assert world.outcomes() == {"billed: call": 3, "unmetered: failed without usage": 1}
    assert "SECRET" not in world.stderr


def test_answers_from_the_cache_are_no_calls(world: World) -> None:
    world.run(
        BEGIN
        + """
from langchain_core.caches import InMemoryCache
model = FakeMessagesListChatModel(responses=[message()], cache=InMemoryCache())
for _ in range(3): model.invoke(PROMPT, config=to("acme"))
"""
    )
    assert world.billed() == {"acme input": 20, "acme output": 7}


def test_two_handlers_of_one_run_record_one_call(world: World) -> None:
    world.run(
        BEGIN
        + """
for _ in range(2):
    fake().invoke(PROMPT, config={"callbacks": [handler, SpanmeterCallbackHandler()], "metadata": {"subject": "acme"}})
"""
    )
    assert world.billed() == {"acme input": 40, "acme output": 14}


def test_turned_off_and_wrongly_set(world: World) -> None:
    code = BEGIN + 'fake().invoke(PROMPT, config=to("acme")); print("alive")'
    assert world.run(code, SPANMETER_ENABLED="false") == "alive\n"
    assert world.stderr == "nothing is metered in this process: SPANMETER_ENABLED is false\n"
    assert world.run(code, SPANMETER_BATCH_EVENTS="many") == "alive\n"
    assert world.stderr.count("NOTHING IS METERED") == 1
    assert not world.folder.exists()


class TestWithOpenai:
    """langchain-openai against the local provider."""

    @pytest.fixture(autouse=True)
    def _needs(self) -> None:
        pytest.importorskip("langchain_openai", reason="needs langchain-openai")

    CALLS = """
async def run():
    await llm.ainvoke(PROMPT, config=to("acme"))
    async for _ in llm.astream(PROMPT, config=to("acme")): pass
llm.invoke(PROMPT, config=to("acme"))
for _ in llm.stream(PROMPT, config=to("acme")): pass
llm.batch([PROMPT, PROMPT], config=to("acme"))
asyncio.run(run())
"""

    def test_alone(self, world: World) -> None:
        with LocalProvider() as provider:
            world.run(BEGIN + OPENAI + self.CALLS, PROVIDER=provider.url)
            assert world.billed() == truth_of(provider, "acme")
            ids = {event["id"].rpartition("-")[0] for event in world.service.events}
            # langchain-openai passes no id of a stream on.
            assert len(ids) == len(provider.calls)
            assert ids >= {call.response_id for call in provider.calls if not call.streamed}

    @pytest.mark.parametrize(
        "instrumentation", ["opentelemetry.instrumentation.openai_v2", "openinference.instrumentation.openai"]
    )
    def test_beside_an_instrumentation(self, world: World, instrumentation: str) -> None:
        pytest.importorskip(instrumentation, reason="is not here, or does not fit the others")
        plugin = f"""
from {instrumentation} import OpenAIInstrumentor
import spanmeter_instrumentation
spanmeter_instrumentation.start()
OpenAIInstrumentor().instrument()
"""
        with LocalProvider() as provider:
            world.run(plugin + BEGIN + OPENAI + self.CALLS, PROVIDER=provider.url)
            assert world.billed() == truth_of(provider, "acme")
        assert world.outcomes()["billed: call"] == 6

    @pytest.mark.parametrize("provider_set", [True, False], ids=["traced", "without a tracer provider"])
    def test_beside_an_instrumentation_whose_spans_have_a_tenant_too(self, world: World, provider_set: bool) -> None:
        """A stream's two records share neither a response id nor a trace: time, counts and service are what they have
        in common, and the service of a process without a provider is that of its environment."""
        pytest.importorskip("opentelemetry.instrumentation.openai_v2", reason="is not here")
        plugin = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
import spanmeter_instrumentation
spanmeter_instrumentation.start()
OpenAIInstrumentor().instrument()
"""
        if provider_set:
            plugin += "trace.set_tracer_provider(TracerProvider())\n"
        with LocalProvider() as provider:
            world.run(plugin + BEGIN + OPENAI + self.CALLS, PROVIDER=provider.url, SPANMETER_DEFAULT_SUBJECT="acme")
            assert world.billed() == truth_of(provider, "acme")
        assert world.outcomes()["billed: call"] == 6

    def test_the_tenant_of_the_trace(self, world: World) -> None:
        plugin = """
from opentelemetry import trace
import spanmeter_instrumentation
spanmeter_instrumentation.start()
"""
        code = """
with trace.get_tracer("app").start_as_current_span("request", attributes={"tenant.id": "above"}):
    llm.invoke(PROMPT, config={"callbacks": [handler]})
"""
        with LocalProvider() as provider:
            world.run(plugin + BEGIN + OPENAI + code, PROVIDER=provider.url)
            assert world.billed() == truth_of(provider, "above")


@pytest.mark.parametrize(
    ("metadata", "keys", "dimensions"),
    [
        ({"subject": "acme", "team": "x", "paid": True, "n": 1.5}, None, {"team": "x", "paid": "true", "n": "1.5"}),
        ({"ls_provider": "openai", "langgraph_step": 1, "thread_id": "t", "__x": 1, "lc_versions": {}}, None, {}),
        ({"api_key": "sk-x", "OPENAI_TOKEN": "x", "clientSecret": "x", "password": "x"}, None, {}),
        ({"type": "x", "tokens": 1, "model": "m", "provider": "p", "operation": "o", "estimated": 1}, None, {}),
        ({"prompt": "x" * 129, "lines": "a\nb", "list": ["x"], "a-b": "x", "none": None}, None, {}),
        ({"team": "x", "other": "y", "thread_id": "t"}, ["team", "thread_id"], {"team": "x", "thread_id": "t"}),
        ({"team": "x"}, [], {}),
    ],
    ids=["scalars", "frameworks", "secrets", "own-names", "no-dimensions", "named", "none"],
)
def test_the_metadata_that_pass(metadata: dict[str, Any], keys: list[str] | None, dimensions: dict[str, str]) -> None:
    assert passed_on(metadata, keys) == dimensions
