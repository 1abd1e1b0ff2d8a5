"""Start and end of metering in a process, and the lines that say where it cannot see."""

import atexit
import functools
import logging
import multiprocessing.util
import os
import sys
import threading
from importlib.metadata import version
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.environment_variables import OTEL_SDK_DISABLED
from opentelemetry.sdk.trace import TracerProvider

from spanmeter.errors import SpanmeterError
from spanmeter.settings import load
from spanmeter_instrumentation.complaints import announce, complain
from spanmeter_instrumentation.hooks import Hooks
from spanmeter_instrumentation.processor import MeteringProcessor
from spanmeter_instrumentation.quiet import hush_clients, quietly
from spanmeter_instrumentation.recorder import Recorder
from spanmeter_instrumentation.stream_usage import StreamUsage


class Plugin:
    """Metering of one process."""

    hears_spans = False
    """Whether the spans that the process traces are metered."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._recorder: Recorder | None = None
        self._is_off = False
        self._hooks: Hooks | None = None
        self._streams: StreamUsage | None = None
        self._registered = False

    def start(self) -> bool:
        with self._lock:
            if self.hears_spans:
                return True
            self._is_off = False
            recorder = self.recorder()
            if recorder is None:
                return False
            hooks = Hooks(recorder.snapshot, recorder.take)
            if hooks.install():
                self._hooks = hooks
                self._examine_provider()
            else:
                self._fall_back(recorder)
            self.hears_spans = True
            if recorder.settings.stream_usage:
                self._ask_streams()
            return True

    def recorder(self) -> Recorder | None:
        """What writes and sends in this process, also where no spans are heard; None where metering is off, having said
        why, once."""
        if self._recorder is None and not self._is_off:
            with self._lock:
                if self._recorder is None and not self._is_off:
                    self._recorder = _new_recorder()
                    self._is_off = self._recorder is None
                    if self._recorder is not None:
                        self._register()
                        hush_clients()
        return self._recorder

    def _ask_streams(self) -> None:
        try:
            self._streams = StreamUsage()
            self._streams.install()
        except Exception as error:  # metering goes on
            complain("streams are not asked for their usage", error)

    def flush(self) -> bool:
        return self._recorder is None or self._recorder.flush()

    def stop(self) -> None:
        with self._lock:
            if self._streams is not None:
                self._streams.uninstall()
            if self._hooks is not None:
                self._hooks.remove()
            if self._recorder is not None:
                self._recorder.finish()
            self._hooks = self._recorder = self._streams = None
            self.hears_spans, self._is_off = False, True

    def finish(self) -> None:
        """At a process's end: what ends later is still written."""
        if self._recorder is not None:
            self._recorder.finish()

    def _finish_and_tell(self) -> None:
        self.finish()
        if self._recorder is not None and self.hears_spans:
            with quietly():
                self._recorder.sight.tell(self._recorder.settings)

    def _register(self) -> None:
        if self._registered:
            return
        self._registered = True
        atexit.register(self._finish_and_tell)
        os.register_at_fork(
            before=self._before_fork, after_in_parent=self._after_fork, after_in_child=self._after_fork_in_child
        )
        multiprocessing.util.register_after_fork(self, functools.partial(_finish_with_child, multiprocessing.util))
        original = trace._set_tracer_provider

        @functools.wraps(original)
        def set_tracer_provider(*arguments: Any, **named: Any) -> None:
            original(*arguments, **named)
            self._examine_provider()

        trace._set_tracer_provider = set_tracer_provider

    def _before_fork(self) -> None:
        if self._recorder is not None:
            self._recorder.before_fork()

    def _after_fork(self) -> None:
        if self._recorder is not None:
            self._recorder.after_fork()

    def _after_fork_in_child(self) -> None:
        self._lock = threading.RLock()
        if self._recorder is not None:
            self._recorder.after_fork_in_child()
        # Celery's processes are those of billiard, a fork of multiprocessing with a registry of its own.
        billiard = sys.modules.get("billiard.util")
        if billiard is not None:
            billiard.register_after_fork(self, functools.partial(_finish_with_child, billiard))

    def _examine_provider(self) -> None:
        """Say so where the process's tracer provider is none that we can hear."""
        provider = trace._TRACER_PROVIDER
        if provider is None or self._hooks is None or _is_sdk(provider):
            return
        announce(
            logging.ERROR,
            "NOTHING IS METERED of what %s.%s traces: it is no tracer provider of opentelemetry-sdk",
            type(provider).__module__,
            type(provider).__qualname__,
        )

    def _fall_back(self, recorder: Recorder) -> None:
        provider = trace.get_tracer_provider()
        heard = isinstance(provider, TracerProvider)
        if isinstance(provider, TracerProvider):
            provider.add_span_processor(MeteringProcessor(recorder))
        announce(
            logging.ERROR,
            "opentelemetry-sdk %s is not as expected: %s; please report it",
            version("opentelemetry-sdk"),
            "only spans that this tracer provider samples are metered" if heard else "NOTHING IS METERED",
        )


def _finish_with_child(util: Any, plugin: Plugin) -> None:
    """In a child of multiprocessing, which ends by os._exit: no atexit runs, its own finalisers do."""
    util.Finalize(plugin, plugin.finish, exitpriority=100)


def _new_recorder() -> Recorder | None:
    """None, having said why, where this process is not to be metered or cannot be."""
    if os.environ.get(OTEL_SDK_DISABLED, "").strip().lower() == "true":
        announce(logging.ERROR, "NOTHING IS METERED in this process: OTEL_SDK_DISABLED is true")
        return None
    try:
        settings = load(os.environ)
        if settings.enabled:
            return Recorder(settings)
    except SpanmeterError as error:
        hint = f" ({error.hint})" if error.hint else ""
        announce(logging.ERROR, "NOTHING IS METERED in this process: %s%s", error, hint)
        return None
    announce(logging.WARNING, "nothing is metered in this process: SPANMETER_ENABLED is false")
    return None


def _is_sdk(provider: object) -> bool:
    """Of the SDK, or one that wraps one of the SDK's, as Logfire's does."""
    return isinstance(provider, TracerProvider) or any(
        isinstance(value, TracerProvider) for value in getattr(provider, "__dict__", {}).values()
    )


plugin = Plugin()
