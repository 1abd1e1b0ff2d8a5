"""Encoded spans recognised by their layout, without decoding what they have in common.

Spans of one scope are of one layout if their attributes stand in the same order, with the same bytes wherever a rule
ever looked. They differ in what stands in a row of `PackedFacts`, and in what nobody reads: a span costs one look-up
for each attribute, in C, and a handful of values. The first one of a layout is decoded and recognised as any other;
what is learnt from it nobody has to declare, see `forms`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableSequence, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any, Final, Generic, Protocol, TypeVar

from spanmeter.usage.counting import UsualCounts
from spanmeter.usage.forms import Form
from spanmeter.usage.named import HINT_KEYS, NOBODY, Named, Tenants
from spanmeter.usage.packing import Counts, Row
from spanmeter.usage.span import Attributes, AttributeValue, Scope, Span

MOST_SCOPES = 64
MOST_LAYOUTS = 1_000
"""Of one scope. If fewer spans than `_WORTH` times as many were recognised by theirs while so many were not, too many
have a layout of their own, and all are decoded from then on."""
_WORTH = 4

Token = bytes | str | None
"""Of an attribute: itself where its value is compared, its key where only that is, None where nobody wants it."""

EncodedRow = tuple[bytes, bytes, bytes, Any, bytes]
"""Trace id, span id, parent's id (empty for none); what is not looked into: an object with `attributes`, encoded each,
`status` and `name`, encoded, `flags`, `start_time_unix_nano`, `end_time_unix_nano`; and the span as it came."""

Signature = tuple[Token, ...]
"""Of a span: status, name where a rule ever looked at it, and its attributes' tokens."""

CODE_BYTES = 2
"""Of a status with a code and no message; messages are a span's own, mostly."""

_Pair = tuple[str, AttributeValue]
NO_PAIR: Final[_Pair] = ("", None)


_Raw = TypeVar("_Raw")
"""A span that was not looked into."""


class Reader(Protocol):
    """From an encoded attribute to its key and value, if the vocabulary has the key."""

    def __getitem__(self, attribute: bytes) -> _Pair | None:
        """For what may come again."""

    def pair(self, attribute: bytes) -> _Pair | None:
        """For what will not."""

    def key(self, attribute: bytes) -> str | None: ...


class Tokens(Protocol):
    """Attributes to tokens, for a fixed set of keys whose values are compared. `unrepeated`: keys of ids."""

    unrepeated: set[str]

    def sign(self, attributes: Sequence[bytes]) -> Iterable[Token]: ...

    def sign_long(self, attributes: Sequence[bytes]) -> Iterable[Token]:
        """The same, for attributes some of which are long."""


class Fitting(Protocol[_Raw]):
    def take(
        self,
        spans: Sequence[_Raw],
        *,
        numbers: Mapping["Layout", int | None],
        rows: MutableSequence[Row],
        links: MutableSequence[bytes],
        received_ns: int,
    ) -> Sequence[_Raw]:
        """Adds the rows of the spans that fit, or their links where the layout has no number; gives the others."""


class Moulds(Fitting[bytes], Protocol):
    """Takes spans at one look each. A mould is made of a span of a known layout; others that it fits have the same
    layout, and come to what they would come to if they were parsed."""

    def learn(self, row: EncodedRow, layout: "Layout", tokens: Sequence[Token]) -> None:
        """From a span of this layout that did not fit. `tokens` are its attributes'."""


class EncodedSpans(Protocol):
    """Spans of one scope and resource that were not looked into; `len` counts those that will be rejected, too."""

    @property
    def raw(self) -> Sequence[bytes]: ...

    def __len__(self) -> int: ...

    def sifted(self, raw: Sequence[bytes]) -> tuple[Sequence[bytes], bytes]:
        """Those of `raw` that may have a key of interest, and the links of the others. Of each to be asked for once, as
        are `rows`."""

    def rows(self, raw: Sequence[bytes]) -> Iterator[EncodedRow]:
        """Of what was sifted: spans that cannot be taken are counted, and left out. The object in a row is not to be
        kept beyond the next row."""

    @property
    def has_long_texts(self) -> bool: ...

    @property
    def scope(self) -> Scope: ...

    def tokens(self, compared: frozenset[str]) -> Tokens: ...

    def moulds(self) -> Moulds: ...

    def reading(self) -> AbstractContextManager[Reader]:
        """To be within while spans, resource or attributes are read: what is broken becomes a MalformedError."""

    def resource(self) -> Attributes:
        """One object for all scopes of a resource."""

    def decoded(self, row: EncodedRow, scope: Scope) -> Span | None:
        """The span; None if it has no key of interest."""


class WrittenMoulds(Fitting[Any], Protocol):
    """The same for spans in JSON, of which no layouts are known but those of moulds."""

    def is_worth(self, raw: Any) -> bool:
        """Counts a span that did not fit: whether a mould should be made of it."""

    def learn(self, raw: Any, layout: "Layout", compared: frozenset[str]) -> None:
        """From a span of this layout. Others are of the same where they have the same keys, and the same values of
        those that are `compared`."""


class WrittenSpans(Protocol):
    """Spans of one scope and resource in JSON, whose attributes were not looked into."""

    @property
    def raw(self) -> Sequence[Any]: ...

    @property
    def scope(self) -> Scope: ...

    def moulds(self) -> WrittenMoulds: ...

    def reading(self) -> AbstractContextManager[None]:
        """To be within while spans are decoded: what is broken becomes a MalformedError."""

    def resource(self) -> Attributes:
        """One object for all scopes of a resource."""

    def decoded(self, raw: Any) -> Span | bytes | None:
        """The span; its link if it has no key of interest; None if it cannot be taken, which is counted."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layout:
    """What spans of a layout have in common: the form, the attributes that are copied into events, and the places of
    what each has of its own, -1 where it has none. `named` is who pays, without the tenant. `usual_counts` are the keys
    of input and output, where whole numbers under these are all that there is to read."""

    form: Form
    dimensions: Attributes
    named: Named = NOBODY
    tenant_at: int = -1
    id_at: int = -1
    count_places: Mapping[str, int] = field(default_factory=dict)
    pick_counts: Callable[[Sequence[bytes]], Iterable[bytes]] = tuple
    read_counts: Callable[[Attributes], Counts | None] | None = None
    usual_counts: tuple[str, str] | None = None


def layout_of(
    span: Span, form: Form, places: Mapping[str, int], tenants: Tenants, *, dimension_keys: frozenset[str]
) -> Layout | None:
    """Of spans like this one, whose attributes stand in these places; None where who pays depends on values."""
    named, tenant_at = NOBODY, -1
    entries = [entry for entry in tenants.entries if entry.partition("#")[0] in places]
    if entries:
        named = tenants.find(span.attributes)
        if not named.tenant or named.key != entries[0] or "#" in named.key:
            return None
        tenant_at = places[named.key]
    elif form.is_call and not places.keys().isdisjoint(HINT_KEYS):
        return None
    read_counts = form.read_counts if form.is_call else None
    count_places = {key: places[key] for key in form.count_keys if key in places} if read_counts is not None else {}
    return Layout(
        form=form,
        dimensions={key: span.attributes[key] for key in dimension_keys},
        named=replace(named, tenant=""),
        tenant_at=tenant_at,
        id_at=places[form.id_key] if form.is_call and form.id_key else -1,
        count_places=count_places,
        pick_counts=_picker([*count_places.values()]),
        read_counts=read_counts,
        usual_counts=read_counts.input_and_output if isinstance(read_counts, UsualCounts) else None,
    )


def _picker(places: Sequence[int]) -> Callable[[Sequence[bytes]], Iterable[bytes]]:
    """Gives what stands in these places."""
    return itemgetter(*places) if len(places) > 1 else lambda attributes: [attributes[at] for at in places]


@dataclass(slots=True, eq=False)
class KnownScope:
    """What is known of the spans of a scope: layouts by signature. Many threads may use one."""

    tokens: Tokens
    moulds: Moulds
    compared: frozenset[str] = frozenset()
    has_name: bool = False
    is_opaque: bool = False
    layouts: dict[Signature, Layout] = field(default_factory=dict)
    missed: int = 0
    met: int = 0

    def miss(self) -> None:
        """A span of a layout that is not known."""
        self.missed += 1
        if self.missed > MOST_LAYOUTS:
            self.is_opaque = self.met < _WORTH * MOST_LAYOUTS
            self.missed = self.met = 0
            self.layouts.clear()


def known_scope(spans: EncodedSpans, compared: frozenset[str] = frozenset(), *, has_name: bool = False) -> KnownScope:
    """One that knows no layout yet."""
    return KnownScope(spans.tokens(compared), spans.moulds(), compared, has_name)


_Known = TypeVar("_Known")


class ByScope(Generic[_Known]):
    """What is known of scopes, of so many at most."""

    def __init__(self) -> None:
        self._known: dict[Scope, _Known] = {}

    def of(self, scope: Scope, make: Callable[[], _Known]) -> _Known:
        known = self._known.get(scope)
        if known is None:
            if len(self._known) >= MOST_SCOPES:
                self._known.clear()
            known = self._known[scope] = make()
        return known

    def put(self, scope: Scope, known: _Known) -> None:
        self._known[scope] = known
