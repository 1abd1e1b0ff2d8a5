"""LangChain without any instrumentation: a callback handler that meters every call of its models.

    chain.invoke(question, config={"callbacks": [SpanmeterCallbackHandler()], "metadata": {"subject": "acme"}})

What it learns goes the way of the plug-in's spans: the same journal, the same rules, the same service. Beside an
instrumentation of the same call it bills nothing twice: both have the provider's response id, or are found side by
side.

Source: langchain-core 0.3.79 to 1.8, callbacks/base.py, language_models/chat_models.py, messages/ai.py (UsageMetadata).
"""

import logging
import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import LLMResult
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

from spanmeter.binding import OWN_NAMES, Binding, Bound, tenant
from spanmeter.usage.dialects.provider_names import semconv_provider
from spanmeter.usage.named import find_tenant
from spanmeter.usage.span import Captured
from spanmeter_instrumentation.context import captured
from spanmeter_instrumentation.plugin import plugin
from spanmeter_instrumentation.private_span import environment_resource, own_context

log = logging.getLogger("spanmeter.langchain")

SCOPE: Final = InstrumentationScope("spanmeter.langchain")
SUBJECT: Final = "subject"
MOST_RUNS: Final = 100_000
MOST_CHARACTERS: Final = 128
FRAMEWORK_OWN: Final = ("ls_", "lc_", "langgraph_", "langsmith", "checkpoint_", "thread_id", "run_id", "_")
"""What LangChain and LangGraph put into metadata themselves."""
SECRETS: Final = re.compile("key|token|secret|passw|credential|auth|cookie", re.IGNORECASE)
"""LangChain copied all of `configurable` into metadata until 1.2, and applications keep keys there."""
OWN_IDS: Final = ("run-", "lc_")
"""LangChain's ids of messages that their provider gave none."""


@dataclass(slots=True, kw_only=True)
class _Run:
    """A model's run that is under way."""

    operation: str
    start_ns: int
    parent: SpanContext
    captured: Captured
    model: str
    provider: str
    streamed: bool = False
    received: UsageMetadata | None = None
    """What a stream said so far: all there is of one that is given up."""


class SpanmeterCallbackHandler(BaseCallbackHandler):
    """Meters chat models and LLMs, called plainly, async, in batches or streamed.

    `metadata={"subject": "acme"}` of the run, or of one that it is part of, says who pays; a key of
    SPANMETER_TENANT_ATTRIBUTES, `spanmeter.tenant(…)` and baggage do as well. Without any a call is parked. Other texts
    and numbers of the metadata become dimensions: those named in `keys`, or all that are neither LangChain's own nor
    look like a secret. Embeddings make no callbacks, and streams have usage only if the model asks for it
    (`stream_usage=True`). Answers from LangChain's cache are not billed.
    """

    run_inline = True  # in the caller's context, where tenant and trace are; it takes microseconds
    _told_missing: ClassVar[bool] = False

    def __init__(self, *, keys: Collection[str] | None = None) -> None:
        self._keys = keys
        self._runs: dict[UUID, _Run] = {}

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[Any]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._start("chat", run_id, metadata or {}, kwargs)

    def on_llm_start(
        self,
        serialized: dict[str, Any],
        prompts: list[str],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._start("text_completion", run_id, metadata or {}, kwargs)

    def on_llm_new_token(self, token: Any, *, run_id: UUID, **kwargs: Any) -> None:
        run = self._runs.get(run_id)
        if run is None:
            return
        run.streamed = True
        try:
            usage = getattr(getattr(kwargs.get("chunk"), "message", None), "usage_metadata", None)
            run.received = add_usage(run.received, usage) if usage else run.received
        except Exception:  # a guest does not break its host
            log.exception("usage on a stream was not read")

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        self._end(run_id, response)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """An error may come with what was received before it: a stream that was given up."""
        self._end(run_id, kwargs.get("response"), failed=True)

    def _start(self, operation: str, run_id: UUID, metadata: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        try:
            parameters = given.get("invocation_params") or {}
            model = metadata.get("ls_model_name") or parameters.get("model") or parameters.get("model_name") or ""
            self._runs[run_id] = _Run(
                operation=operation,
                start_ns=time.time_ns(),
                parent=own_context(trace.get_current_span()),
                captured=self._captured(metadata),
                model=str(model),
                provider=semconv_provider(str(metadata.get("ls_provider") or "")),
            )
            if len(self._runs) > MOST_RUNS:
                self._runs.pop(next(iter(self._runs)), None)
        except Exception:  # a guest does not break its host
            log.exception("a call was not metered")

    def _captured(self, metadata: Mapping[str, Any]) -> Captured:
        found = captured(None)
        recorder = plugin.recorder()
        if recorder is None:
            return found
        named = find_tenant(metadata, (SUBJECT, *recorder.settings.tenant_attributes))
        dimensions = passed_on(metadata, self._keys)
        if not named.tenant and not found and not recorder.settings.default_subject:
            self._tell_missing(unusable=bool(named.unusable))
        if named.tenant or dimensions:
            binding = tenant(named.tenant, **dimensions) if named.tenant else Binding("", dimensions)
            found = found._replace(bound=Bound(binding, found.bound))
        return found

    def _tell_missing(self, *, unusable: bool) -> None:
        if not SpanmeterCallbackHandler._told_missing:
            SpanmeterCallbackHandler._told_missing = True
            log.warning(
                "a call's metadata %s: calls without a tenant are parked until one is assigned "
                '(config={"metadata": {"subject": "…"}})',
                "has a subject that can be none" if unusable else "has no subject",
            )

    def _end(self, run_id: UUID, response: LLMResult | None, *, failed: bool = False) -> None:
        try:
            run = self._runs.pop(run_id, None)
            recorder = plugin.recorder()
            if run is None or recorder is None:
                return
            attributes = _answer(response) if response is not None else {}
            if attributes is None:
                return  # from the cache: no provider was called
            if failed and run.received:
                attributes = _counts(run.received) | attributes
            recorder.take_span(_record(run, run_id, attributes, failed=failed), run.captured)
        except Exception:  # a guest does not break its host
            log.exception("a call was not metered")


def passed_on(metadata: Mapping[str, Any], keys: Collection[str] | None) -> dict[str, str]:
    """The metadata that become dimensions, without what can be none."""
    found = {}
    for name, value in metadata.items():
        if keys is not None and name not in keys:
            continue
        if keys is None and (name == SUBJECT or name.startswith(FRAMEWORK_OWN) or SECRETS.search(name)):
            continue
        if (
            name in OWN_NAMES
            or not (name.isidentifier() and name.isascii())
            or not isinstance(value, str | int | float)
        ):
            continue
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if len(text) <= MOST_CHARACTERS and text.isprintable():
            found[name] = text
    return found


def _record(run: _Run, run_id: UUID, attributes: Mapping[str, Any], *, failed: bool) -> ReadableSpan:
    """The run as a span. Its id is the run's, so that two handlers of one run record one call.

    It is part of the trace that it runs in where the plug-in sees that trace; else it is a trace of its own.
    """
    traced = run.parent if run.parent.is_valid and plugin.hears_spans else None
    context = SpanContext(
        trace_id=traced.trace_id if traced is not None else run_id.int,
        span_id=run_id.int & (2**64 - 1),
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
    asked: dict[str, Any] = {
        "gen_ai.operation.name": run.operation,
        "gen_ai.provider.name": run.provider,
        "gen_ai.request.model": run.model,
        "gen_ai.request.stream": run.streamed,
    }
    return ReadableSpan(
        name=f"{run.operation} {run.model}",
        context=context,
        parent=traced,
        resource=getattr(trace.get_tracer_provider(), "resource", None) or environment_resource(),
        attributes={**asked, **attributes},
        status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
        start_time=run.start_ns,
        end_time=time.time_ns(),
        instrumentation_scope=SCOPE,
    )


def _answer(response: LLMResult) -> dict[str, Any] | None:
    """Model, id and counts of an answer, under the conventions' names; None for one from LangChain's cache.

    Each of several choices repeats the counts of all: one is read.
    """
    messages = [
        message for prompt in response.generations for one in prompt if (message := getattr(one, "message", None))
    ]
    said: dict[str, Any] = getattr(messages[0], "response_metadata", None) or {} if messages else {}
    output: Mapping[str, Any] = response.llm_output or {}
    usage: Mapping[str, Any] = next((found for one in messages if (found := getattr(one, "usage_metadata", None))), {})
    if usage and usage.get("total_cost") == 0:
        return None
    attributes = _counts(usage) if usage else _openai_counts(output.get("token_usage") or said.get("token_usage") or {})
    attributes["gen_ai.response.model"] = said.get("model_name") or said.get("model") or output.get("model_name") or ""
    ids = [said.get("id"), *(getattr(message, "id", None) for message in messages)]
    own = next((one for one in ids if isinstance(one, str) and one and not one.startswith(OWN_IDS)), "")
    attributes["gen_ai.response.id"] = own
    return attributes


def _counts(usage: Mapping[str, Any]) -> dict[str, Any]:
    """LangChain's own form: the input includes what was cached, the output what was reasoned."""
    inputs, outputs = usage.get("input_token_details") or {}, usage.get("output_token_details") or {}
    counts = {
        "gen_ai.usage.input_tokens": usage.get("input_tokens"),
        "gen_ai.usage.output_tokens": usage.get("output_tokens"),
        "gen_ai.usage.total_tokens": usage.get("total_tokens"),
        "gen_ai.usage.cache_read.input_tokens": inputs.get("cache_read"),
        "gen_ai.usage.cache_write.input_tokens": inputs.get("cache_creation"),
        "gen_ai.usage.reasoning.output_tokens": outputs.get("reasoning"),
    }
    return {name: value for name, value in counts.items() if value is not None}


def _openai_counts(usage: Mapping[str, Any]) -> dict[str, Any]:
    """`llm_output["token_usage"]`, of models that are no chat models."""
    inputs, outputs = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
    counts = {
        "gen_ai.usage.input_tokens": usage.get("prompt_tokens"),
        "gen_ai.usage.output_tokens": usage.get("completion_tokens"),
        "gen_ai.usage.total_tokens": usage.get("total_tokens"),
        "gen_ai.usage.cache_read.input_tokens": inputs.get("cached_tokens"),
        "gen_ai.usage.reasoning.output_tokens": outputs.get("reasoning_tokens"),
    }
    return {name: value for name, value in counts.items() if value is not None}
