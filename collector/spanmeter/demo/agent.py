"""A small agent program, as somebody else would have written it: it knows nothing of billing.

Run it under `opentelemetry-instrument`, which traces the `openai` client. The span that it opens itself is the
application's: it alone names the tenant, so whoever bills the calls inside it has to find the tenant through it.
For each tenant: a question, a tool called by the model, the answer with the tool's result, and a streamed summary.

    OPENAI_BASE_URL=http://127.0.0.1:8080/v1 opentelemetry-instrument python -m spanmeter.demo.agent acme globex

Standard output has a line of JSON a call, as the client saw it: `tenant`, `response_id`, `input_tokens`,
`output_tokens`, `streamed`.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Final

from openai import OpenAI
from openai.types import CompletionUsage
from openai.types.chat import (
    ChatCompletionFunctionToolParam,
    ChatCompletionMessageParam,
    ChatCompletionToolMessageParam,
)
from opentelemetry import trace

TENANTS_VARIABLE: Final = "DEMO_TENANTS"
DEFAULT_TENANTS: Final = "acme,globex"
MODEL: Final = "gpt-4o-mini"

_MAX_TURNS: Final = 4
_INVOICE_TOOL: Final[ChatCompletionFunctionToolParam] = {
    "type": "function",
    "function": {
        "name": "look_up_invoice",
        "description": "The open amount of an invoice.",
        "parameters": {
            "type": "object",
            "properties": {"number": {"type": "string", "default": "2041"}},
            "required": ["number"],
        },
    },
}


class Agent:
    """Serves one tenant. Prints a line a call."""

    def __init__(self, client: OpenAI, tenant: str) -> None:
        self._client = client
        self._tenant = tenant

    def run(self) -> None:
        """One piece of work, inside one span of the application."""
        with trace.get_tracer("demo.agent").start_as_current_span("handle invoice question") as span:
            span.set_attribute("tenant.id", self._tenant)
            answer = self._answer_with_tool("What is open on invoice 2041?")
            self._stream_summary(answer)

    def _answer_with_tool(self, question: str) -> str:
        messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": question}]
        for _ in range(_MAX_TURNS):
            completion = self._client.chat.completions.create(
                model=MODEL, messages=messages, tools=[_INVOICE_TOOL], extra_headers=self._headers()
            )
            self._say(completion.id, completion.usage, streamed=False)
            message = completion.choices[0].message
            if not message.tool_calls:
                return message.content or ""
            results: list[ChatCompletionToolMessageParam] = [
                {"role": "tool", "tool_call_id": call.id, "content": look_up_invoice(call.function.arguments)}
                for call in message.tool_calls
                if call.type == "function"
            ]
            asked: ChatCompletionMessageParam = {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": call.id,
                        "type": "function",
                        "function": {"name": call.function.name, "arguments": call.function.arguments},
                    }
                    for call in message.tool_calls
                    if call.type == "function"
                ],
            }
            messages += [asked, *results]
        return ""

    def _stream_summary(self, text: str) -> None:
        with self._client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": f"Sum up in one line: {text}"}],
            stream=True,
            stream_options={"include_usage": True},
            extra_headers=self._headers(),
        ) as chunks:
            response_id, usage = "", None
            for chunk in chunks:
                response_id = chunk.id
                usage = chunk.usage or usage
        self._say(response_id, usage, streamed=True)

    def _headers(self) -> dict[str, str]:
        return {"x-demo-tenant": self._tenant}

    def _say(self, response_id: str, usage: CompletionUsage | None, *, streamed: bool) -> None:
        seen = {
            "tenant": self._tenant,
            "response_id": response_id,
            "input_tokens": usage.prompt_tokens if usage else None,
            "output_tokens": usage.completion_tokens if usage else None,
            "streamed": streamed,
        }
        sys.stdout.write(json.dumps(seen) + "\n")
        sys.stdout.flush()


def look_up_invoice(arguments: str) -> str:
    """The agent's tool. `arguments` is the JSON that the model wrote."""
    number = json.loads(arguments)["number"]
    return json.dumps({"number": number, "open": "120.00", "currency": "EUR"})


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve each tenant `--rounds` times, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m spanmeter.demo.agent", description="A small agent with one tool.")
    parser.add_argument(
        "tenants", nargs="*", help=f"default: {TENANTS_VARIABLE}, separated by commas, or {DEFAULT_TENANTS}"
    )
    parser.add_argument("--rounds", type=int, default=1, help="how often each tenant is served")
    chosen = parser.parse_args(arguments)
    tenants = chosen.tenants or os.environ.get(TENANTS_VARIABLE, DEFAULT_TENANTS).split(",")
    with OpenAI(api_key=os.environ.get("OPENAI_API_KEY", "local")) as client:  # base_url: OPENAI_BASE_URL
        for _ in range(chosen.rounds):
            for tenant in tenants:
                Agent(client, tenant.strip()).run()


if __name__ == "__main__":
    main()
