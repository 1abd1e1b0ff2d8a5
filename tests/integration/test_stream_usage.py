"""Streams of the real `openai` client: the instrumentation sees the usage, and the application sees, chunk by chunk and
byte by byte, what it would see without us."""

import asyncio
import importlib
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from types import ModuleType
from typing import Any

import openai
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from spanmeter.demo.provider import LocalProvider
from spanmeter.usage.recognition import Recogniser
from spanmeter_instrumentation.ended import EndedSpan, Snapshot
from spanmeter_instrumentation.stream_usage import StreamUsage
from tests.integration.choosy_server import ChoosyServer

ASK: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
STREAM: dict[str, Any] = ASK | {"stream": True}
INSTRUMENTATIONS = {
    "openai-v2": "opentelemetry.instrumentation.openai_v2",
    "genai-openai": "opentelemetry.instrumentation.genai.openai",
    "openinference": "openinference.instrumentation.openai",
    "openllmetry": "opentelemetry.instrumentation.openai",
}


def load(instrumentation: str) -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs
            return importlib.import_module(INSTRUMENTATIONS[instrumentation])
    except ImportError as error:
        pytest.skip(f"{instrumentation} is not here, or does not fit the others: {error}")


class Host:
    """An application with an instrumentation and the layer, put on in either order."""

    def __init__(self, instrumentation: str, *, layer_first: bool = False) -> None:
        self.exporter = InMemorySpanExporter()
        tracer_provider = TracerProvider(shutdown_on_exit=False)
        tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self._instrumentor = load(instrumentation).OpenAIInstrumentor()
        self._layer = StreamUsage()
        if layer_first:
            self._layer.install()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs
            self._instrumentor.instrument(tracer_provider=tracer_provider, skip_dep_check=True)
        self._layer.install()

    def close(self) -> None:
        self._instrumentor.uninstrument()
        self._layer.uninstall()

    def metered(self) -> list[tuple[int, int] | None]:
        """Input and output tokens of every call that the instrumentation recorded, as our dialects read them."""
        recogniser = Recogniser(tenant_attributes=["tenant.id"])
        snapshot = Snapshot(recogniser.vocabulary())
        found = []
        for span in self.exporter.get_finished_spans():
            ended = snapshot.of(span, span.attributes or {}, context=span.context, parent=span.parent)
            assert isinstance(ended, EndedSpan)
            facts = recogniser.facts(snapshot.neutral(ended), received_ns=1)
            assert facts is not None
            assert facts.call is not None
            usage = facts.call.usage
            found.append((usage.all_input, usage.all_output) if usage is not None else None)
        return found


@pytest.fixture
def provider() -> Iterator[LocalProvider]:
    with LocalProvider() as running:
        yield running


@pytest.fixture
def host() -> Iterator[Host]:
    with closing(Host("openai-v2")) as made:
        yield made


@contextmanager
def client_of(url: str, **options: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="local", base_url=url, **options) as client:
        yield client


def sync_stream(url: str) -> Any:
    with client_of(url) as client, client.chat.completions.create(**STREAM) as stream:
        return [chunk.to_dict() for chunk in stream]


def sync_next(url: str) -> Any:
    with client_of(url) as client:
        stream = client.chat.completions.create(**STREAM, n=2)
        chunks = []
        while (chunk := next(stream, None)) is not None:
            chunks.append(chunk.to_dict(exclude_unset=False))
        return chunks


def azure(url: str) -> Any:
    with openai.AzureOpenAI(api_key="local", api_version="2024-10-21", base_url=url) as client:
        return [chunk.to_dict() for chunk in client.chat.completions.create(**STREAM)]


def helper(url: str) -> Any:
    with client_of(url) as client, client.chat.completions.stream(**ASK) as stream:
        events = [event.to_dict() for event in stream]
        return [*events, stream.get_final_completion().to_dict()]


def raw(url: str) -> Any:
    with client_of(url) as client:
        response = client.chat.completions.with_raw_response.create(**STREAM)
        return [chunk.to_dict() for chunk in response.parse()]


def streaming(url: str) -> Any:
    with client_of(url) as client, client.chat.completions.with_streaming_response.create(**STREAM) as response:
        return [chunk.to_dict() for chunk in response.parse()]


def async_stream(url: str) -> Any:
    async def run() -> Any:
        client = openai.AsyncOpenAI(api_key="local", base_url=url)
        async with client, await client.chat.completions.create(**STREAM) as stream:
            return [chunk.to_dict() async for chunk in stream]

    return asyncio.run(run())


def async_next(url: str) -> Any:
    async def run() -> Any:
        async with openai.AsyncAzureOpenAI(api_key="local", api_version="2024-10-21", base_url=url) as client:
            stream = await client.chat.completions.create(**STREAM)
            chunks = []
            while (chunk := await anext(stream, None)) is not None:
                chunks.append(chunk.to_dict())
            return chunks

    return asyncio.run(run())


def async_helper(url: str) -> Any:
    async def run() -> Any:
        client = openai.AsyncOpenAI(api_key="local", base_url=url)
        async with client, client.chat.completions.stream(**ASK) as stream:
            return [event.to_dict() async for event in stream]

    return asyncio.run(run())


def async_raw(url: str) -> Any:
    async def run() -> Any:
        async with openai.AsyncOpenAI(api_key="local", base_url=url) as client:
            response = await client.chat.completions.with_raw_response.create(**STREAM)
            return [chunk.to_dict() async for chunk in response.parse()]

    return asyncio.run(run())


def async_streaming(url: str) -> Any:
    async def run() -> Any:
        client = openai.AsyncOpenAI(api_key="local", base_url=url)
        async with client, client.chat.completions.with_streaming_response.create(**STREAM) as response:
            return [chunk.to_dict() async for chunk in await response.parse()]

    return asyncio.run(run())


WAYS = [
    *(sync_stream, sync_next, azure, helper, raw, streaming),
    *(async_stream, async_next, async_helper, async_raw, async_streaming),
]
THEIR_OWN_LIMITS: dict[tuple[str, Callable[[str], Any]], str] = {
    ("openai-v2", async_streaming): "its wrapper cannot be awaited, with or without us",
    ("openinference", async_streaming): "it reads no usage there, with or without us",
} | {
    ("openllmetry", way): "it reads no usage there, with or without us"
    for way in (raw, streaming, async_raw, async_streaming)
}


def timeless(seen: Any) -> Any:
    """Without the second at which the provider made it."""
    if isinstance(seen, list):
        return [timeless(one) for one in seen]
    if isinstance(seen, dict):
        return {name: timeless(value) for name, value in seen.items() if name != "created"}
    return seen


@pytest.mark.parametrize("layer_first", [False, True], ids=["layer-last", "layer-first"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("instrumentation", INSTRUMENTATIONS)
def test_metered_and_unseen(
    provider: LocalProvider, instrumentation: str, way: Callable[[str], Any], layer_first: bool
) -> None:
    load(instrumentation)
    if reason := THEIR_OWN_LIMITS.get((instrumentation, way)):
        pytest.skip(reason)
    with LocalProvider() as other:
        expected = way(other.url)
        assert not other.calls[0].usage_reported
    with closing(Host(instrumentation, layer_first=layer_first)) as host:
        seen = way(provider.url)
        [call] = provider.calls
        assert host.metered() == [(call.input_tokens, call.output_tokens)]
    assert timeless(seen) == timeless(expected)
    assert seen


def test_nothing_is_left_behind(provider: LocalProvider) -> None:
    from openai.resources.chat.completions import AsyncCompletions, Completions
    from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

    def places() -> list[object]:
        owners = ((Completions, "create"), (AsyncCompletions, "create"), (BaseInstrumentor, "instrument"))
        return [vars(owner)[name] for owner, name in (*owners, (BaseInstrumentor, "uninstrument"))]

    before = places()
    for layer_first in (False, True):
        Host("openai-v2", layer_first=layer_first).close()
        assert places() == before


class TestReadAsBytes:
    """`with_streaming_response` of an application that reads what the service sent."""

    def read(self, url: str, how: str) -> list[Any]:
        """The choices of every event."""
        with client_of(url) as client, client.chat.completions.with_streaming_response.create(**STREAM) as response:
            match how:
                case "lines":
                    return self.events("\n".join(response.iter_lines()))
                case "text":
                    return self.events("".join(response.iter_text()))
                case "bytes":
                    return self.events(b"".join(response.iter_bytes(7)).decode())
                case "read":
                    return self.events(response.read().decode())
                case _:
                    return self.events(response.text())

    async def read_async(self, url: str, how: str) -> list[Any]:
        async with openai.AsyncOpenAI(api_key="local", base_url=url) as client:
            create = client.chat.completions.with_streaming_response.create
            async with create(**STREAM) as response:
                match how:
                    case "lines":
                        return self.events("\n".join([line async for line in response.iter_lines()]))
                    case "text":
                        return self.events("".join([text async for text in response.iter_text()]))
                    case "bytes":
                        return self.events(b"".join([piece async for piece in response.iter_bytes(7)]).decode())
                    case "read":
                        return self.events((await response.read()).decode())
                    case _:
                        return self.events(await response.text())

    def events(self, text: str) -> list[Any]:
        events = [line.removeprefix("data: ") for line in text.splitlines() if line]
        assert events[-1] == "[DONE]"
        return [json.loads(event)["choices"] for event in events[:-1]]

    @pytest.fixture(autouse=True)
    def _layer(self) -> Iterator[None]:
        layer = StreamUsage()
        layer.install()
        yield
        layer.uninstall()

    @pytest.mark.parametrize("how", ["lines", "text", "bytes", "read", "whole text"])
    def test_no_event_more(self, provider: LocalProvider, how: str) -> None:
        choices = self.read(provider.url, how)
        assert choices
        assert [] not in choices
        assert provider.calls[0].usage_reported

    @pytest.mark.parametrize("how", ["lines", "text", "bytes", "read", "whole text"])
    def test_no_event_more_of_the_async_client(self, provider: LocalProvider, how: str) -> None:
        choices = asyncio.run(self.read_async(provider.url, how))
        assert choices
        assert [] not in choices
        assert provider.calls[0].usage_reported


class TestWhoSaysSomethingIsLeftAlone:
    @pytest.mark.parametrize(
        ("options", "reported"),
        [
            ({"stream_options": {"include_usage": True}}, True),
            ({"stream_options": {"include_usage": False}}, False),
            ({"stream_options": {"include_obfuscation": False}}, False),
            ({"stream_options": None}, False),
            ({"extra_body": {"stream_options": {"include_usage": True}}}, True),
        ],
        ids=["yes", "no", "other", "null", "extra-body"],
    )
    def test_about_stream_options(
        self, host: Host, provider: LocalProvider, options: dict[str, Any], reported: bool
    ) -> None:
        with client_of(provider.url) as client:
            chunks = list(client.chat.completions.create(**STREAM, **options))
        assert provider.calls[0].usage_reported is reported
        assert any(not chunk.choices for chunk in chunks) is reported

    def test_or_left_it_out_in_the_client_s_own_words(self, host: Host, provider: LocalProvider) -> None:
        with client_of(provider.url) as client:
            list(client.chat.completions.create(**STREAM, stream_options=openai.omit))
        assert provider.calls[0].usage_reported

    def test_no_stream(self, host: Host, provider: LocalProvider) -> None:
        with client_of(provider.url) as client:
            for stream in (False, openai.omit):
                answer = client.chat.completions.create(**ASK, stream=stream)
                assert answer.usage is not None
        assert host.metered() == [(call.input_tokens, call.output_tokens) for call in provider.calls]


class TestServicesThatTakeNoStreamOptions:
    """A call never fails for what we added."""

    def test_are_asked_once_by_model(self, host: Host, caplog: pytest.LogCaptureFixture) -> None:
        with ChoosyServer(refuse_with=400) as server, client_of(server.url) as client:
            for model in ("a", "a", "b", "a"):
                stream = client.chat.completions.create(**STREAM | {"model": model})
                assert [chunk.choices[0].delta.content for chunk in stream] == ["Hi"]
            assert server.asked == [True, False, False, True, False, False]
        assert caplog.text.count("takes no stream_options") == 2
        assert "Hello" not in caplog.text

    def test_of_the_async_client(self, host: Host) -> None:
        async def run(url: str) -> list[Any]:
            async with openai.AsyncOpenAI(api_key="local", base_url=url) as client:
                return [chunk async for chunk in await client.chat.completions.create(**STREAM)]

        with ChoosyServer(refuse_with=422) as server:
            assert len(asyncio.run(run(server.url))) == 1
            assert server.asked == [True, False]

    def test_another_mistake_is_the_application_s(self, host: Host) -> None:
        with ChoosyServer(refuse_with=400, always=True) as server, client_of(server.url) as client:
            for _ in range(2):
                with pytest.raises(openai.BadRequestError):
                    client.chat.completions.create(**STREAM)
            assert server.asked == [True, False, True, False]
            server.refuse_with = 0
            list(client.chat.completions.create(**STREAM))
            server.refuse_with = 400
            with pytest.raises(openai.BadRequestError):
                client.chat.completions.create(**STREAM)
            assert server.asked[4:] == [True, True]

    def test_other_failures_are_not_tried_again(self, host: Host) -> None:
        with ChoosyServer(refuse_with=403, always=True) as server, client_of(server.url, max_retries=0) as client:
            with pytest.raises(openai.PermissionDeniedError):
                client.chat.completions.create(**STREAM)
            assert server.asked == [True]
