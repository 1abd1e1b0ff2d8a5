"""What rules read of a span while they recognise it: a span that looks the same where they looked gets the same answer.

Rules are functions of the span alone. So what one answered for a span holds for every other with the same scope, the
same keys, and the same values where it read them. Two kinds of values would be different on nearly every span, and are
handed on instead of looked into: token counts, by `Reading`, and response ids, by `values.passed`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, cast

from spanmeter.usage.call import Usage
from spanmeter.usage.packing import Counts
from spanmeter.usage.span import Attributes, AttributeValue, Scope, Span

Counted = tuple[Usage | None, str]
"""Counts, and why they cannot be believed, see `LlmCall`."""


class Reading(Protocol):
    """A way to read counts: a function of the values under some keys, and nothing else."""

    def keys(self) -> frozenset[str]: ...

    def read(self, attributes: Attributes) -> Counted: ...

    def prepared(self, keys: Collection[str]) -> Callable[[Attributes], Counts | None]:
        """A fast form of `read` for attributes with exactly these keys. It answers None where it does not know."""
        ...


@dataclass(slots=True)
class Reads:
    """What was read. `is_opaque`: something by which no other span can be told to be alike, such as a time.

    `reading` found `usage`, if counts were read at all; `id_key` has the response id, if one was handed on.
    """

    keys: set[str] = field(default_factory=set)
    has_name: bool = False
    is_opaque: bool = False
    reading: Reading | None = None
    usage: Usage | None = None
    id_key: str = ""


class WatchedAttributes(Mapping[str, AttributeValue]):
    """Attributes that note whose values are asked for. Their keys may be asked for freely: they are always compared."""

    def __init__(self, attributes: Attributes, reads: Reads) -> None:
        self._attributes = attributes
        self._reads = reads

    def __getitem__(self, key: str) -> AttributeValue:
        value = self._attributes[key]
        self._reads.keys.add(key)
        return value

    def __contains__(self, key: object) -> bool:
        return key in self._attributes

    def __iter__(self) -> Iterator[str]:
        return iter(self._attributes)

    def __len__(self) -> int:
        return len(self._attributes)

    def passed(self, keys: tuple[str, ...]) -> str:
        """See `values.passed`."""
        reads = self._reads
        for key in keys:
            if key in self._attributes:
                value = self._attributes[key]
                if isinstance(value, str) and value and reads.id_key in ("", key):
                    reads.id_key = key
                    return value
                reads.is_opaque = True
        return ""

    def counted(self, reading: Reading) -> Counted:
        """The counts, for rules that hand them on and do not look into them."""
        reads = self._reads
        usage, problem = reading.read(self._attributes)
        if usage is None and not problem and reading.keys().isdisjoint(self._attributes):
            return None, ""
        # Whether there are counts, and whether they can be believed, decides what becomes of a span.
        reads.is_opaque |= usage is None or reads.reading is not None
        if usage is not None:
            reads.reading, reads.usage = reading, _WatchedUsage(usage, reads)
        return reads.usage, problem


class WatchedSpan:
    """A span that notes what is asked of it."""

    def __init__(self, span: Span, reads: Reads) -> None:
        self._span = span
        self._reads = reads
        self.attributes = WatchedAttributes(span.attributes, reads)

    @property
    def scope(self) -> Scope:
        return self._span.scope

    @property
    def is_error(self) -> bool:
        return self._span.is_error

    @property
    def name(self) -> str:
        self._reads.has_name = True
        return self._span.name

    def __getattr__(self, name: str) -> Any:
        self._reads.is_opaque = True
        return getattr(self._span, name)


class _WatchedUsage(Usage):
    """Counts that note when somebody decides by them."""

    __slots__ = ("_reads",)

    def __init__(self, usage: Usage, reads: Reads) -> None:
        super().__init__(**{one.name: getattr(usage, one.name) for one in fields(Usage)})
        object.__setattr__(self, "_reads", reads)

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_"):
            object.__getattribute__(self, "_reads").is_opaque = True
        return object.__getattribute__(self, name)


def watched(span: Span, reads: Reads) -> Span:
    """`span`, for rules that do not know that they are watched."""
    return cast("Span", WatchedSpan(span, reads))
