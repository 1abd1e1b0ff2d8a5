"""Are two model names names of the same model? Instrumentations cut and decorate them differently."""

import functools
import re

_DATE = re.compile(r"[-@:]?(?:20\d{2}-?\d{2}-?\d{2}|\d{4})(?:-v\d+)?(?::\d+)?$")
_VERSION = re.compile(r"(?:-v\d+)?:\d+[a-z]*$")
_REGION = re.compile(r"^(?:us|eu|apac|ap|jp|au|global|us-gov)\.")
_VENDOR = re.compile(r"^(?:ai21|amazon|anthropic|cohere|deepseek|meta|mistral|openai|qwen|stability|writer)\.")


def split_model(name: str) -> tuple[str, str]:
    """(prefix, model) of `provider/model`; the prefix is empty where there is none."""
    prefix, _, model = name.rpartition("/")
    return prefix.partition("/")[0], model or name


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
