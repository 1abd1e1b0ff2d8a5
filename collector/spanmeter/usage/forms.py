"""Recognition remembered: the rules are asked once for all spans that look the same to them.

Which parts of a span an answer depends on is found out by watching the rules (see `watching`). The spans of one scope
with the same keys are of one kind; a kind's spans with the same values, wherever a rule ever looked, are of one form.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import itemgetter

from spanmeter.usage.call import LlmCall, Usage
from spanmeter.usage.construct import make_similar_call
from spanmeter.usage.span import Attributes, AttributeValue, Span
from spanmeter.usage.watching import Reads, watched

MOST_KINDS = 2_000
MOST_FORMS = 10_000
MOST_LEARNT = 500
"""Of one kind, while fewer spans than `_WORTH` times as many were recognised by their form: then most spans of the kind
have a value of their own where a rule looks, and the rules are asked about each of them."""
_WORTH = 4
MOST_CHARACTERS = 256
"""Longer texts are not kept to compare others with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """The answer for all spans of a form: `call`, with the counts that `read_usage` finds and the response id under
    `id_key`, where there are these."""

    call: LlmCall | None
    read_usage: Callable[[Attributes], Usage | None] | None
    id_key: str


class _Table:
    """Forms, told apart by the values of `keys`, by `is_error`, and by the name where a rule looked at it."""

    __slots__ = ("_look", "forms", "has_name", "has_types", "keys")

    def __init__(self, keys: frozenset[str] = frozenset(), *, has_name: bool = False, has_types: bool = False) -> None:
        self.keys = keys
        self.has_name = has_name
        self.has_types = has_types
        self.forms: dict[object, _Form] = {}
        self._look: Callable[[Attributes], object] | None = itemgetter(*sorted(keys)) if keys else None

    def place(self, span: Span) -> object:
        """Raises TypeError, at the latest when it is used as a key, for values that cannot be compared."""
        seen = self._look(span.attributes) if self._look is not None else None
        name = span.name if self.has_name else None
        if self.has_types:  # 1 == True == 1.0
            return seen, tuple([type(span.attributes[key]) for key in self.keys]), span.is_error, name
        return seen, span.is_error, name


@dataclass(slots=True, eq=False)
class _Kind:
    """Spans of one scope with the same keys. `learnt` counts answers, `met` the spans that were spared the rules."""

    table: _Table = field(default_factory=_Table)
    learnt: int = 0
    met: int = 0
    is_opaque: bool = False


@dataclass(slots=True)
class Forms:
    """`ask` is asked about spans of unknown form; it must be a function of the span alone."""

    ask: Callable[[Span], LlmCall | None]
    _kinds: dict[tuple[str, ...], _Kind] = field(default_factory=dict)
    _learnt: int = 0

    def recognise(self, span: Span) -> LlmCall | None:
        """What `ask` answers. For many threads: the worst that they do to each other is to learn twice."""
        attributes = span.attributes
        scope = span.scope
        name = (scope.name, scope.version, *attributes)
        kind = self._kinds.get(name)
        if kind is None:
            if len(self._kinds) >= MOST_KINDS:
                self._kinds.clear()
            kind = self._kinds[name] = _Kind()
        if kind.is_opaque:
            return self.ask(span)
        table = kind.table
        try:
            form = table.forms.get(table.place(span))
        except TypeError:
            return self.ask(span)
        if form is None:
            return self._learn(kind, span)
        kind.met += 1
        call = form.call
        if call is None or (form.read_usage is None and not form.id_key):
            return call
        usage = call.usage
        if form.read_usage is not None:
            usage = form.read_usage(attributes)
            if usage is None:
                return self.ask(span)
        if not form.id_key:
            return make_similar_call(call, call.response_id, usage)
        response_id = attributes[form.id_key]
        if not isinstance(response_id, str) or not response_id:
            return self.ask(span)
        return make_similar_call(call, response_id, usage)

    def _learn(self, kind: _Kind, span: Span) -> LlmCall | None:
        """Asks, watches, and keeps the answer if others can be told to be like this span."""
        self._learnt += 1
        if self._learnt > MOST_FORMS:
            self._kinds.clear()
            self._learnt = 0
        kind.learnt += 1
        if kind.learnt > MOST_LEARNT:
            kind.is_opaque = kind.met < _WORTH * MOST_LEARNT
            kind.learnt = kind.met = 0
            kind.table = _Table()
        reads = Reads()
        try:
            form = _form(self.ask(watched(span, reads)), reads, span)
        except Exception:  # noqa: BLE001 - a rule that does more with a span than a watched one can bear
            form = None
        table = _table_for(kind.table, reads, span) if form is not None else None
        if form is not None and table is not None:
            kind.table = table
            table.forms[table.place(span)] = form
        return self.ask(span)


def _form(call: LlmCall | None, reads: Reads, span: Span) -> _Form | None:
    """None where the answer depends on more than can be compared."""
    if reads.is_opaque:
        return None
    if call is None:
        return None if reads.reading or reads.id_key else _Form(call=None, read_usage=None, id_key="")
    if reads.reading is not None and call.usage is not reads.usage:
        return None
    if reads.id_key and call.response_id != span.attributes[reads.id_key]:
        return None
    return _Form(
        call=make_similar_call(call, call.response_id, None) if reads.reading is not None else call,
        read_usage=reads.reading.prepared(span.attributes.keys()) if reads.reading is not None else None,
        id_key=reads.id_key,
    )


def _table_for(table: _Table, reads: Reads, span: Span) -> _Table | None:
    """`table`, or an empty one that tells spans apart by more; None if that cannot be done for this span."""
    keys = table.keys | reads.keys
    values = [span.attributes[key] for key in keys]
    has_types = table.has_types or not all(isinstance(value, str) for value in values)
    has_name = table.has_name or reads.has_name
    if not all(map(_is_comparable, values)) or len(span.name) > MOST_CHARACTERS:
        return None
    if keys == table.keys and has_types == table.has_types and has_name == table.has_name:
        return table
    return _Table(keys, has_name=has_name, has_types=has_types)


def _is_comparable(value: AttributeValue) -> bool:
    return value is None or isinstance(value, bool | int) or (isinstance(value, str) and len(value) <= MOST_CHARACTERS)
