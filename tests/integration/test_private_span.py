"""What an application may do with a span that nobody records, it may do with one of ours: nothing raises, nothing is
logged, and what is copied or sent to another process is what it would have been."""

import copy
import logging
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan, Span, Status, StatusCode, Tracer

from spanmeter.settings import load
from spanmeter_instrumentation.ended import Ended, EndedSpan
from spanmeter_instrumentation.hooks import Hooks
from spanmeter_instrumentation.private_span import PrivateSpan, PrivateTracer
from spanmeter_instrumentation.recorder import Recorder


@pytest.fixture
def taken() -> list[Ended]:
    return []


@pytest.fixture(params=["dropped by a sampler", "without a provider"])
def tracer(request: pytest.FixtureRequest, tmp_path: Path, taken: list[Ended]) -> Iterator[Tracer]:
    snapshot = Recorder(load({"SPANMETER_DATA_DIR": str(tmp_path / "state")})).snapshot
    hooks = Hooks(snapshot, taken.append)
    assert hooks.install()
    if request.param == "without a provider":
        yield PrivateTracer(InstrumentationScope("x"), hooks.private_span)
    else:
        yield TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("x")
    hooks.remove()


class Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


USES: dict[str, Callable[[Any], object]] = {
    "no attributes": lambda span: span.set_attributes(None),
    "attributes in a list": lambda span: span.set_attributes([("gen_ai.request.model", "gpt")]),
    "a key that is no key": lambda span: span.set_attribute(["gen_ai.request.model"], "gpt"),
    "an object": lambda span: span.set_attribute("gen_ai.request.model", object()),
    "objects": lambda span: span.set_attributes({"gen_ai.request.model": object(), "gen_ai.system": [object()]}),
    "none": lambda span: span.set_attribute("gen_ai.request.model", None),
    "a mixed list": lambda span: span.set_attribute("gen_ai.response.finish_reasons", ["stop", 1, None]),
    "no status": lambda span: span.set_status(None),
    "a status twice described": lambda span: span.set_status(Status(StatusCode.ERROR), "why"),
    "a description of no error": lambda span: span.set_status(StatusCode.OK, "why"),
    "no name": lambda span: span.update_name(None),
    "no event": lambda span: span.add_event(None),
    "no exception": lambda span: span.record_exception(None),
    "an end that is no time": lambda span: span.end("now"),
}


@pytest.mark.parametrize("use", USES)
def test_nothing_raises_and_nothing_is_logged(
    use: str, tracer: Tracer, taken: list[Ended], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    span = tracer.start_span("chat", attributes={"gen_ai.usage.input_tokens": 3})
    assert isinstance(span, PrivateSpan)
    USES[use](span)
    span.end()
    assert [record.getMessage() for record in caplog.records] == []
    [ended] = taken
    assert isinstance(ended, EndedSpan)
    assert ended.attributes["gen_ai.usage.input_tokens"] == 3


@pytest.mark.parametrize("attributes", [[("gen_ai.request.model", "gpt")], 5, {"gen_ai.request.model": object()}])
def test_started_with_what_are_no_attributes(
    attributes: Any, tracer: Tracer, taken: list[Ended], caplog: pytest.LogCaptureFixture
) -> None:
    span = tracer.start_span("chat", attributes=attributes)
    span.set_attribute("gen_ai.usage.input_tokens", 3)
    span.end()
    assert [record.getMessage() for record in caplog.records] == []
    assert len(taken) == 1


def test_an_exception_without_a_text_is_the_one_that_comes_out(tracer: Tracer, taken: list[Ended]) -> None:
    with pytest.raises(Unreadable), tracer.start_span("chat", attributes={"gen_ai.usage.input_tokens": 3}):
        raise Unreadable
    [ended] = taken
    assert isinstance(ended, EndedSpan)
    assert ended.is_error


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda span: pickle.loads(pickle.dumps(span))])
def test_a_copy_is_of_what_is_shown(how: Callable[[Span], Span], tracer: Tracer, taken: list[Ended]) -> None:
    span = tracer.start_span("chat", attributes={"gen_ai.usage.input_tokens": 3})
    copied = how(span)
    assert type(copied) is NonRecordingSpan
    assert copied.get_span_context() == span.get_span_context()
    copied.end()
    assert taken == []


def test_a_values_list_is_kept_as_it_was_when_it_was_set(tracer: Tracer, taken: list[Ended]) -> None:
    reasons = ["stop"]
    span = tracer.start_span("chat", attributes={"gen_ai.usage.input_tokens": 3})
    span.set_attribute("gen_ai.response.finish_reasons", reasons)
    reasons.append("length")
    assert isinstance(span, PrivateSpan)
    assert (span.attributes or {}).get("gen_ai.response.finish_reasons", ("stop",)) == ("stop",)


def test_a_failed_block_is_an_error(tracer: Tracer, taken: list[Ended]) -> None:
    with (
        pytest.raises(ValueError, match="why"),
        tracer.start_as_current_span("chat", attributes={"gen_ai.usage.input_tokens": 3}),
    ):
        raise ValueError("why")
    with tracer.start_as_current_span("chat", attributes={"gen_ai.usage.input_tokens": 3}) as span:
        assert span.get_span_context().is_valid is (span.get_span_context() != INVALID_SPAN_CONTEXT)
    assert [ended.is_error for ended in taken if isinstance(ended, EndedSpan)] == [True, False]
