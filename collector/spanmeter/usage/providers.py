"""Provider names: OpenTelemetry's, and those that Konnect's LLM cost database knows.

Source: semconv v1.41.1 gen_ai.provider.name and its deprecated values; openmeter openmeter/llmcost/normalize.go, which
lower-cases, knows its own aliases, and matches none of OpenTelemetry's names for AWS, Azure, Google, xAI and Mistral.
"""

_KONNECT = {
    "aws.bedrock": "bedrock",
    "aws_bedrock": "bedrock",
    "az.ai.inference": "azure",
    "az.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "azure.openai": "azure",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "vertex_ai",
    "gemini": "google",
    "mistral_ai": "mistral",
    "mistralai": "mistral",
    "x_ai": "xai",
}


def konnect_provider(name: str) -> str:
    """The name that the cost database knows; a name it may know already is only lower-cased."""
    lowered = name.lower()
    return _KONNECT.get(lowered, lowered)
