"""Recognition remembered: the rules are asked once for all spans that look the same to them.

Which parts of a span an answer depends on is found out by watching the rules (see `watching`). The spans of one scope
with the same keys are of one kind; a kind's spans with the same values, wherever a rule ever looked, are of one form.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import itemgetter

from spanmeter.usage.call import LlmCall, Role
from spanmeter.usage.construct import make_similar_call
from spanmeter.usage.packing import Counts, counts_of
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Form:
    """What is common to all spans of a form: `call`, without counts and response id where these are each span's own.

    They are found by `read_counts` under some of `count_keys`, and under `id_key`, if there are any.
    """

    call: LlmCall | None
    read_counts: Callable[[Attributes], Counts | None] | None = None
    count_keys: frozenset[str] = frozenset()
    id_key: str = ""

    @property
    def is_call(self) -> bool:
        """Whether there is a call, and not the run of a tool."""
        return self.call is not None and self.call.role is not Role.TOOL


Recognised = tuple[Form, str, Counts | None]
"""A form, and the span's own response id and counts."""
_NO_CALL = Form(call=None)


class _Table:
    """Forms, told apart by the values of `keys`, by `is_error`, and by the name where a rule looked at it."""

    __slots__ = ("_look", "forms", "has_name", "has_types", "keys")

    def __init__(self, keys: frozenset[str] = frozenset(), *, has_name: bool = False, has_types: bool = False) -> None:
        self.keys = keys
        self.has_name = has_name
        self.has_types = has_types
        self.forms: dict[object, Form] = {}
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
    _plain: dict[LlmCall, Form] = field(default_factory=dict)
    _learnt: int = 0

    def recognise(self, span: Span) -> Recognised:
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
            return self._asked(span)
        table = kind.table
        try:
            form = table.forms.get(table.place(span))
        except TypeError:
            return self._asked(span)
        if form is None:
            return self._learn(kind, span)
        kind.met += 1
        counts = None
        if form.read_counts is not None:
            counts = form.read_counts(attributes)
            if counts is None:
                return self._asked(span)
        if not form.id_key:
            return form, "", counts
        response_id = attributes[form.id_key]
        if not isinstance(response_id, str) or not response_id:
            return self._asked(span)
        return form, response_id, counts

    def kept(self, span: Span) -> tuple[Form, frozenset[str], bool] | None:
        """The form that was kept for spans like this one, the keys whose values make it like that, and whether its name
        does."""
        kind = self._kinds.get((span.scope.name, span.scope.version, *span.attributes))
        if kind is None or kind.is_opaque:
            return None
        table = kind.table
        try:
            form = table.forms.get(table.place(span))
        except TypeError:
            return None
        return None if form is None else (form, table.keys, table.has_name)

    def _asked(self, span: Span) -> Recognised:
        """The rules' own answer, in a form that was made before if there is one."""
        call = self.ask(span)
        if call is None:
            return _NO_CALL, "", None
        bare = make_similar_call(call, "", None)
        form = self._plain.get(bare)
        if form is None:
            if len(self._plain) >= MOST_FORMS:
                self._plain.clear()
            form = self._plain[bare] = Form(call=bare)
        return form, call.response_id, None if call.usage is None else counts_of(call.usage)

    def _learn(self, kind: _Kind, span: Span) -> Recognised:
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
        return self._asked(span)


def _form(call: LlmCall | None, reads: Reads, span: Span) -> Form | None:
    """None where the answer depends on more than can be compared, or is made of what was read otherwise."""
    if reads.is_opaque:
        return None
    if call is None:
        return None if reads.reading or reads.id_key else _NO_CALL
    if call.usage is not reads.usage or call.response_id != (span.attributes[reads.id_key] if reads.id_key else ""):
        return None
    return Form(
        call=make_similar_call(call, "", None),
        read_counts=reads.reading.prepared(span.attributes.keys()) if reads.reading is not None else None,
        count_keys=reads.reading.keys() if reads.reading is not None else frozenset(),
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
