"""The local stand-in as the real `openai` client sees it, and the demonstration's agent against it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import BadRequestError, InternalServerError, NotFoundError, OpenAI

from spanmeter.demo.provider import LocalProvider, ServedCall
from tests.acceptance.child import eventually

TIMEOUT_S = 30


@pytest.fixture
def provider() -> Iterator[LocalProvider]:
    with LocalProvider() as running:
        yield running


@pytest.fixture
def client(provider: LocalProvider) -> Iterator[OpenAI]:
    with client_of(provider) as opened:
        yield opened


def client_of(provider: LocalProvider, *, retries: int = 0) -> OpenAI:
    return OpenAI(base_url=provider.url, api_key="local", max_retries=retries)


def only_call(provider: LocalProvider) -> ServedCall:
    (call,) = provider.calls
    return call


def test_chat(provider: LocalProvider, client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": "?"}],
        n=2,
        extra_headers={"x-demo-tenant": "acme"},
    )
    assert answer.usage is not None
    assert len(answer.choices) == 2
    assert only_call(provider) == ServedCall(
        response_id=answer.id,
        api="chat",
        tenant="acme",
        model_request="gpt-4o-mini",
        model_response=answer.model,
        streamed=False,
        input_tokens=answer.usage.prompt_tokens,
        output_tokens=answer.usage.completion_tokens,
        cached_tokens=0,
        reasoning_tokens=0,
        usage_reported=True,
        completed=True,
    )


@pytest.mark.parametrize("include_usage", [True, False])
def test_streamed_chat(provider: LocalProvider, client: OpenAI, include_usage: bool) -> None:
    chunks = list(
        client.chat.completions.create(
            model="gpt-4o-mini",
            messages=[{"role": "user", "content": "?"}],
            stream=True,
            stream_options={"include_usage": include_usage},
        )
    )
    call = only_call(provider)
    assert (call.streamed, call.completed, call.usage_reported) == (True, True, include_usage)
    reported = [chunk.usage.prompt_tokens for chunk in chunks if chunk.usage]
    assert reported == ([call.input_tokens] if include_usage else [])


def test_a_stream_that_the_client_leaves_is_recorded_as_cut(provider: LocalProvider, client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": "?"}],
        n=2000,  # more than the socket's buffers hold
        stream=True,
        stream_options={"include_usage": True},
    )
    next(iter(stream))
    stream.close()
    eventually(lambda: bool(provider.calls), timeout_s=TIMEOUT_S)
    call = only_call(provider)
    assert (call.completed, call.usage_reported) == (False, False)


def test_responses_plain_and_streamed(provider: LocalProvider, client: OpenAI) -> None:
    plain = client.responses.create(model="gpt-5-mini", input="?")
    with client.responses.stream(model="gpt-5-mini", input="?") as stream:
        streamed = stream.get_final_response()
    assert plain.usage is not None
    assert streamed.usage is not None
    assert "no model was asked" in streamed.output_text
    assert [(call.response_id, call.input_tokens, call.reasoning_tokens) for call in provider.calls] == [
        (answer.id, answer.usage.input_tokens, answer.usage.output_tokens_details.reasoning_tokens)
        for answer in (plain, streamed)
        if answer.usage
    ]


def test_embeddings_and_models(provider: LocalProvider, client: OpenAI) -> None:
    answer = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
    assert len(answer.data[0].embedding) == 8
    assert only_call(provider).input_tokens == answer.usage.prompt_tokens
    assert only_call(provider).output_tokens == 0
    assert "gpt-4o-mini" in {model.id for model in client.models.list()}


@pytest.mark.parametrize("status", [429, 500])
def test_refused_requests_are_retried_by_the_client_and_not_recorded(status: int) -> None:
    with (
        LocalProvider(fail_first=2, fail_status=429 if status == 429 else 500) as provider,
        client_of(provider, retries=2) as client,
    ):
        answer = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "?"}])
        assert provider.refused == 2
        assert only_call(provider).response_id == answer.id


def test_errors_are_in_openai_s_shape(client: OpenAI) -> None:
    with pytest.raises(NotFoundError, match="not served here"):
        client.completions.create(model="gpt-4o", prompt="?")
    with pytest.raises(BadRequestError, match="model"):
        client.post("/chat/completions", body={"messages": []}, cast_to=object)
    with LocalProvider(fail_first=1) as failing, client_of(failing) as other, pytest.raises(InternalServerError):
        other.embeddings.create(model="text-embedding-3-small", input="a")


def test_the_agent_and_the_provider_tell_the_same_story(tmp_path: Path) -> None:
    record = tmp_path / "truth.jsonl"
    environment = dict(os.environ)
    command = [sys.executable, "-m", "spanmeter.demo.provider", "--record", str(record)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as provider:
        assert provider.stdout is not None
        url = provider.stdout.readline().decode().strip()
        agent = subprocess.run(
            [sys.executable, "-m", "spanmeter.demo.agent", "acme", "globex"],
            env=environment | {"OPENAI_BASE_URL": url},
            stdout=subprocess.PIPE,
            check=True,
            timeout=TIMEOUT_S,
        )
        provider.send_signal(signal.SIGTERM)
        assert provider.wait(TIMEOUT_S) == 0
    truth = [json.loads(line) for line in record.read_text().splitlines()]
    seen = [json.loads(line) for line in agent.stdout.splitlines()]
    assert [call["tenant"] for call in seen] == ["acme"] * 3 + ["globex"] * 3
    assert seen == [{key: call[key] for key in seen[0]} for call in truth]
