"""A request of the program's own, and calls that spanmeter sends requests for."""

import os

import httpx
from opentelemetry import trace

import spanmeter_instrumentation

call = {"gen_ai.operation.name": "chat", "gen_ai.usage.output_tokens": 7, "tenant.id": "acme"}
trace.get_tracer("agent").start_span("chat", attributes=call).end()
httpx.get(os.environ["OPENAI_BASE_URL"] + "/there")
spanmeter_instrumentation.stop()
