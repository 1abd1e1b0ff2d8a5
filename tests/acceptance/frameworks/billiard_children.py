"""Four children, each with a call."""

import billiard
from opentelemetry import trace


def work():
    call = {"gen_ai.operation.name": "chat", "gen_ai.usage.output_tokens": 1, "tenant.id": "acme"}
    trace.get_tracer("agent").start_span("chat", attributes=call).end()


if __name__ == "__main__":
    children = [billiard.get_context("fork").Process(target=work) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
