"""The plug-in in a program that names its tenants in code and streams without asking for usage, at once for three."""

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from spanmeter.demo.provider import LocalProvider
from spanmeter.testing.metering_service import MeteringService
from tests.acceptance.agent import NO_EXPORTER, plugin_settings, run_program, truth_of
from tests.acceptance.collector import events_of, outcomes_of, running_service, status_of

PROGRAM = """
import asyncio, contextvars, threading
import openai, spanmeter

ASK = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
TENANTS = ("acme", "bolt", "cord")

@spanmeter.tenant("acme")
def pieces(client):
    for chunk in client.chat.completions.create(**ASK, stream=True, extra_headers={"x-demo-tenant": "acme"}):
        yield chunk.choices[0].delta.content

def sync(tenant):
    with openai.OpenAI() as client, spanmeter.tenant(tenant):
        headers = {"x-demo-tenant": tenant}
        for chunk in client.chat.completions.create(**ASK, stream=True, extra_headers=headers):
            assert chunk.choices
        client.chat.completions.create(**ASK, extra_headers=headers)
        response = client.chat.completions.with_raw_response.create(**ASK, stream=True, extra_headers=headers)
        for chunk in response.parse():
            assert chunk.choices

async def concurrent(tenant):
    async with openai.AsyncOpenAI() as client:
        with spanmeter.tenant(tenant):
            stream = await client.chat.completions.create(**ASK, stream=True, extra_headers={"x-demo-tenant": tenant})
            async for chunk in stream:
                assert chunk.choices

async def main():
    await asyncio.gather(*[concurrent(tenant) for tenant in TENANTS * 3])

with openai.OpenAI() as client, spanmeter.tenant("cord"):
    begun = pieces(client)
    next(begun)
    for piece in begun: pass
threads = [threading.Thread(target=contextvars.copy_context().run, args=(sync, tenant)) for tenant in TENANTS]
for thread in threads: thread.start()
for thread in threads: thread.join()
asyncio.run(main())
with openai.OpenAI() as client:
    for piece in pieces(client): pass
print("done")
"""
CALLS = 20
NOT_STREAMED = 3


@pytest.fixture
def provider() -> Iterator[LocalProvider]:
    with LocalProvider() as running:
        yield running


@pytest.fixture
def service() -> Iterator[MeteringService]:
    with running_service() as running:
        yield running


def run(
    folder: Path, provider: LocalProvider, service: MeteringService, more: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    settings = {**NO_EXPORTER, **plugin_settings(folder, endpoint=service.url), "OPENAI_API_KEY": "local"}
    done = run_program(["-c", PROGRAM], provider, {**settings, **more})
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    return done


def test_every_stream_is_billed_to_its_tenant(
    tmp_path: Path, provider: LocalProvider, service: MeteringService
) -> None:
    run(tmp_path, provider, service, {})
    assert len(provider.calls) == CALLS
    assert events_of(service) == truth_of(provider)
    status = status_of(tmp_path)
    assert status is not None
    assert status.balanced


def test_turned_off_the_streams_are_unmetered_and_told(
    tmp_path: Path, provider: LocalProvider, service: MeteringService
) -> None:
    done = run(tmp_path, provider, service, {"SPANMETER_STREAM_USAGE": "false"})
    assert len(events_of(service)) == 2 * NOT_STREAMED
    status = status_of(tmp_path)
    assert status is not None
    unmetered = outcomes_of(status)["unmetered"]
    assert unmetered == CALLS - NOT_STREAMED
    assert f"{unmetered} calls of gpt-4o-mini" in done.stderr
    assert done.stderr.count("not metered") == 1
