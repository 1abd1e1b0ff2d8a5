"""Microsoft's frameworks: Agent Framework (Python, .NET), Microsoft.Extensions.AI, Semantic Kernel, AutoGen.

Source: agent-framework-core 1.0.0 and 1.23.0, observability.py: `chat` spans, and `invoke_agent` with the sum over
them, or with the agent's own report where no `chat` span below had usage (agents that run elsewhere). Counts are as
its clients hand them on: agent-framework-anthropic 1.0.0b261022 and -bedrock leave cached tokens out of the input,
-gemini leaves thoughts out of the output. dotnet/extensions 5862342, OpenTelemetryChatClient.cs (`chat`; placed outside
of FunctionInvokingChatClient one span has the sum over a loop) and FunctionInvokingChatClient.cs (`orchestrate_tools`);
microsoft/agent-framework 5eb3eb7, OpenTelemetryAgent.cs (`invoke_agent`, the same client relabelled, of kind CLIENT).
semantic-kernel 1.30.0 and 1.45.0, utils/telemetry/model_diagnostics/decorators.py (operations were `chat.completions`
and the like, now `chat` and `text_completions`); dotnet ModelDiagnostics.cs. autogen-core 0.7.5, _telemetry/_genai.py:
agents and tools, no usage.
"""

from dataclasses import replace

from spanmeter.usage.call import LlmCall, Role
from spanmeter.usage.dialects import otel_genai
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.dialects.otel_genai import CALLS, make_call, read_counts
from spanmeter.usage.dialects.provider_names import semconv_provider
from spanmeter.usage.span import Span
from spanmeter.usage.values import text

NAME = "microsoft"
_AGENT_FRAMEWORK = "agent_framework"
_SCOPES = (
    _AGENT_FRAMEWORK,
    "Experimental.Microsoft.Agents.AI",
    "Microsoft.Agents.AI",
    "Experimental.Microsoft.Extensions.AI",
    "Microsoft.Extensions.AI",
    "semantic_kernel.",
    "Microsoft.SemanticKernel",
    "autogen",
)
_SEMANTIC_KERNEL_CALLS = {
    "chat.completions": "chat",
    "chat.streaming_completions": "chat",
    "text.completions": "text_completion",
    "text.streaming_completions": "text_completion",
    "text_completions": "text_completion",
}
_STREAMED = {"chat.streaming_completions", "text.streaming_completions"}
_PROVIDERS = {
    "autogen": "",
    "azure.ai.foundry": "azure.ai.inference",
    "google.vertex.ai": "gcp.vertex_ai",
    "microsoft.agent_framework": "",
}
_UNKNOWN_MODEL = "unknown"


def recognise(span: Span) -> LlmCall | None:
    if not span.scope.name.startswith(_SCOPES):
        return None
    operation = text(span.attributes, "gen_ai.operation.name")
    provider = text(span.attributes, "gen_ai.provider.name", "gen_ai.system")
    cache_included, reasoning_included = True, True
    if span.scope.name.startswith(_AGENT_FRAMEWORK):
        # Anthropic's models are also served by Bedrock, Foundry and Vertex clients that derive from Anthropic's.
        cache_included = provider not in {"anthropic", "aws.bedrock"} and not _is_claude(span)
        reasoning_included = provider != "gcp.gemini"
    usage, problem = read_counts(span.attributes, cache_included=cache_included, reasoning_included=reasoning_included)
    is_call = operation in CALLS or operation in _SEMANTIC_KERNEL_CALLS
    if not is_call and usage is None and not problem:
        return None
    call = make_call(
        span,
        dialect=NAME,
        role=Role.CALL if is_call or not operation else Role.AGGREGATE,
        usage=usage,
        problem=problem,
        provider=_PROVIDERS.get(provider.lower(), semconv_provider(provider)),
        operation=_SEMANTIC_KERNEL_CALLS.get(operation, operation),
        streamed=operation in _STREAMED,
        reason="" if is_call or not operation else f"operation {operation}",
        sole_source=operation == "invoke_agent",
    )
    return replace(call, request_model="") if call.request_model == _UNKNOWN_MODEL else call


def _is_claude(span: Span) -> bool:
    return "claude" in text(span.attributes, "gen_ai.response.model", "gen_ai.request.model").lower()


DIALECT = Dialect(name=NAME, keys=otel_genai.KEYS, markers=otel_genai.DIALECT.markers, recognise=recognise)
