"""Are two model names names of the same model? Instrumentations cut and decorate them differently."""

import functools
import re

_DATE = re.compile(r"[-@:]?(?:20\d{2}-?\d{2}-?\d{2}|\d{4})(?:-v\d+)?(?::\d+)?$")
_VERSION = re.compile(r"(?:-v\d+)?:\d+[a-z]*$")
_REGION = re.compile(r"^(?:us|eu|apac|ap|jp|au|global|us-gov)\.")
_VENDOR = re.compile(r"^(?:ai21|amazon|anthropic|cohere|deepseek|meta|mistral|openai|qwen|stability|writer)\.")

_BEDROCK_ID = re.compile(
    r"^(?:arn:aws[\w-]*:bedrock:"
    r"|(?:(?:us|eu|apac|ap|jp|au|global|us-gov)\.)?(?:ai21|amazon|anthropic|cohere|deepseek|meta|mistral|qwen|writer)\.[a-z])"
)
_SOLE_MAKERS = {
    re.compile(r"^(?:(?:ft:)?gpt-(?!oss)|chatgpt-|o[134](?:-|$)|text-embedding-(?:3-|ada-))"): "openai",
    re.compile(r"^claude-"): "anthropic",
    re.compile(r"^gemini-"): "gcp.gen_ai",
    re.compile(r"^grok-"): "x_ai",
}
"""Families of models that nobody but their maker and its partners serves, and the maker's semantic-convention name."""


_RESOURCE_PATHS = ("accounts", "arn:", "endpoints", "locations", "models", "projects", "publishers", "tunedmodels")


def split_model(name: str) -> tuple[str, str]:
    """(prefix, model) of `provider/model`; the prefix is empty where there is none, or it begins a resource's path."""
    prefix, _, model = name.rpartition("/")
    first = prefix.partition("/")[0]
    return "" if first.lower().startswith(_RESOURCE_PATHS) else first, model or name


@functools.lru_cache(4096)
def core_name(name: str) -> str:
    """The name without provider, region, vendor, date and version, in lower case: `us.amazon.nova-pro-v1:0` is
    `nova-pro`, `openai/gpt-4o-mini-2024-07-18` is `gpt-4o-mini`."""
    core = split_model(name.lower().strip())[1]
    core = _VENDOR.sub("", _REGION.sub("", core))
    core = _VERSION.sub("", core)
    core = _DATE.sub("", core)
    return core.removesuffix("-latest")


def same_model(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether any name of the one may mean the same model as any name of the other. A span without a name fits all."""
    ones, others = [core_name(name) for name in one if name], [core_name(name) for name in other if name]
    if not ones or not others:
        return True
    return any(a == b for a in ones for b in others)


@functools.lru_cache(1024)
def implied_provider(name: str) -> str:
    """The provider that a model's name gives away: an id in Amazon Bedrock's form, or a family that is its maker's
    alone, whose prices its partners (Azure, Vertex AI) follow. Empty for others, such as models with open weights."""
    if _BEDROCK_ID.match(name.lower()):
        return "aws.bedrock"
    core = core_name(name)
    return next((maker for family, maker in _SOLE_MAKERS.items() if family.match(core)), "")
