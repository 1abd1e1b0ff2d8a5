"""The kinds of values that settings have, and how each is read from text. What is wrong is a ValueError that says what
would be right."""

import os
import re
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from spanmeter.binding import OWN_NAMES
from spanmeter.custom_dialects import read_dialect_file

TOKEN_CLASSES = ("input", "cache_read", "cache_write", "output", "reasoning")


class ProviderNames(StrEnum):
    """Whose names `data.provider` uses."""

    KONNECT = "konnect"
    SEMCONV = "semconv"


class Estimates(StrEnum):
    """What becomes of counts that an instrumentation guessed."""

    PARK = "park"
    BILL = "bill"


class SettlementMode(StrEnum):
    """Whether what was sent is read back from the service."""

    AUTO = "auto"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def as_address(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.lower() == "off":
        return None
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", value)
    if not match or int(match[2]) > 65535:
        raise ValueError(f"{value!r} is not host:port (such as 127.0.0.1:4317 or [::1]:4317) or off")
    return ListenAddress(match[1].strip("[]"), int(match[2]))


def as_list(value: object) -> object:
    """Comma-separated text to a tuple; empty parts fall away."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def as_pairs(value: object) -> object:
    """`name=attribute,name=attribute` to a mapping."""
    if not isinstance(value, str):
        return value
    pairs: dict[str, str] = {}
    for part in as_list(value):  # type: ignore[attr-defined]
        name, equals, attribute = part.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name.strip()) or not attribute.strip():
            raise ValueError(f"{part!r} is not name=attribute with a name of letters, digits and underscores")
        if name.strip() in pairs:
            raise ValueError(f"{name.strip()} is there twice")
        pairs[name.strip()] = attribute.strip()
    reserved = OWN_NAMES & pairs.keys()
    if reserved:
        raise ValueError(f"{', '.join(sorted(reserved))}: spanmeter's own names cannot be used as dimensions")
    return pairs


def as_classes(value: object) -> object:
    classes = as_list(value)
    if isinstance(classes, tuple):
        unknown = [name for name in classes if name not in TOKEN_CLASSES]
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: not a token class; there are {', '.join(TOKEN_CLASSES)}")
        if not {"input", "output"} <= set(classes) or len(set(classes)) != len(classes):
            raise ValueError("names input and output, and each class once: a class left out is counted in one of these")
    return classes


def as_type_names(value: object) -> object:
    names = as_list(value)
    if isinstance(names, tuple) and (
        len(names) != 2 or names[0] == names[1] or {"cache_read", "cache_write", "reasoning"} & set(names)
    ):
        raise ValueError("is two different names, for input and for output, such as request,response")
    return names


def as_source(value: object) -> object:
    # Konnect parses `source` as a URI reference with Go's url.Parse: a colon in the first path segment is refused
    # (cloudevents/sdk-go v2 event_unmarshal.go, readUriRef).
    if isinstance(value, str) and not re.fullmatch(r"[A-Za-z0-9._/-]+", value):
        raise ValueError("may have letters, digits and . _ - / only: the service parses it as a URI reference")
    return value


def as_dialect_file(value: object) -> object:
    return read_dialect_file(Path(value)) if isinstance(value, str) else value


def as_endpoint(value: object) -> object:
    # Checked here, so that no message, and not `spanmeter settings`, ever shows it.
    if isinstance(value, str) and "@" in value.partition("://")[2].partition("/")[0]:
        raise ValueError("has credentials in it; put the token into KONNECT_TOKEN or KONNECT_TOKEN_FILE")
    return value


def default_data_dir() -> Path:
    state = os.environ.get("XDG_STATE_HOME")
    try:
        return (Path(state) if state else Path.home() / ".local" / "state") / "spanmeter"
    except RuntimeError:  # no HOME, and no such user
        return Path(tempfile.gettempdir()) / f"spanmeter-{os.getuid()}"


def usable_cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
