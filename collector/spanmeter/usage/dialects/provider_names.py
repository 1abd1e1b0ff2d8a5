"""The providers' names in the semantic conventions, for what instrumentations call them.

Source: semconv v1.41.1 model/gen-ai/registry.yaml, gen_ai.provider.name; openinference-semantic-conventions 0.1.42
OpenInferenceLLMProviderValues and LLMSystemValues; `provider` of the model classes of agno 3.1 and the AI SDK's
packages (`openai.chat`, `google.generative-ai`, `amazon-bedrock`); `ls_provider` of langchain-* 1.x; genkit plug-ins.
"""

_NAMES = {
    "amazon": "aws.bedrock",
    "amazon-bedrock": "aws.bedrock",
    "amazon_bedrock": "aws.bedrock",
    "aws": "aws.bedrock",
    "awsbedrock": "aws.bedrock",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "azure": "azure.ai.openai",
    "azure-openai": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "azureopenai": "azure.ai.openai",
    "az.ai.openai": "azure.ai.openai",
    "az.ai.inference": "azure.ai.inference",
    "gemini": "gcp.gemini",
    "google": "gcp.gemini",
    "google_genai": "gcp.gemini",
    "googleai": "gcp.gemini",
    "google.vertex": "gcp.vertex_ai",
    "google_vertexai": "gcp.vertex_ai",
    "vertex": "gcp.vertex_ai",
    "vertex_ai": "gcp.vertex_ai",
    "vertexai": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
    "xai": "x_ai",
}
_FRAMEWORKS = frozenset(
    {
        "agno",
        "crewai",
        "dspy",
        "gateway",
        "haystack",
        "langchain",
        "langgraph",
        "litellm",
        "llama_index",
        "strands-agents",
    }
)
_UNKNOWN = frozenset({"", "unknown", "none"})


def semconv_provider(name: str) -> str:
    """The conventions' name; the name itself in lower case where they have none; empty for what is no provider."""
    lowered = name.strip().lower()
    if lowered in _FRAMEWORKS or lowered in _UNKNOWN:
        return ""
    return _NAMES.get(lowered, lowered)
