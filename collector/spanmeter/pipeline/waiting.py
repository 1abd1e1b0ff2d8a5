"""Which traces wait for their decision, and in which rows of the journal they are: an index, without a single span."""

from array import array
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from spanmeter.store.journal import RowTraces

LINKS_FOR = 10
"""Links without facts are kept for the longest age of a trace after its newest, and for so many of them at most."""


@dataclass(slots=True)
class _Row:
    """A row of the journal that is still needed. `facts`: traces that it has facts of, or that it reopens; `links`:
    others that it has links of, `traces` how many these were. `needed_by` counts traces that are in its turn or past
    it."""

    seq: int
    came_ns: int
    facts: "array[int]"
    links: "array[int]"
    needed_by: int = 0
    is_young: bool = True
    traces: int = field(init=False)

    def __post_init__(self) -> None:
        self.traces = max(1, len(self.facts) + len(self.links))


class Waiting:
    """An index of traces, by key, over the rows that came, in their order.

    A row is young until it is `quiet_ns` old. Then it has its turn: of its traces those of which no young row speaks
    are quiet. At `max_ns` it has its last turn: what is in it is decided now. So a trace costs eight bytes while it is
    young, and some hundred if it has to wait longer: it is open then. Times are steady ns.
    """

    def __init__(self, *, quiet_ns: int, max_ns: int, parked: Iterable[int]) -> None:
        """`parked`: traces with a call whose tenant is not known; a link alone may lead to one, and reopens them."""
        self.parked = set(parked)
        self._quiet_ns = min(quiet_ns, max_ns)
        self._max_ns = max_ns
        self._rows: dict[int, _Row] = {}
        self._young: deque[_Row] = deque()
        self._grown: deque[int] = deque()  # had their turn, and not their last
        self._open: dict[int, tuple[int, ...]] = {}  # rows in their order
        self._links: dict[int, tuple[int, ...]] = {}  # the same of traces without facts so far
        self._spent: list[int] = []
        self._newest_ns = -(2**63)
        self._known = self._known_traces = 0  # the first young rows of whose quiet time all is known, and their traces

    def __contains__(self, key: int) -> bool:
        return key in self._open

    @property
    def open_traces(self) -> int:
        """One that is in several young rows counts for each."""
        return len(self._open) + sum(len(row.facts) for row in self._young)

    @property
    def oldest_row(self) -> int:
        return next(iter(self._rows), 0)

    def lacks_rows(self, *, traces: int) -> bool:
        """Whether more rows have to be known before so many traces can have their turn together."""
        return self._known_traces < traces

    def add(self, row: RowTraces, came_ns: int) -> None:
        """The next row. One that follows another came no earlier, whatever the wall clock said."""
        self._newest_ns = came_ns = max(came_ns, self._newest_ns)
        made = self._rows[row.seq] = _Row(row.seq, came_ns, row.facts, row.links)
        young = self._young
        young.append(made)
        while self._known < len(young) and young[self._known].came_ns + self._quiet_ns <= came_ns:
            self._known_traces += young[self._known].traces
            self._known += 1

    def turn(self, now_ns: int, *, most: int, is_all: bool) -> list[int]:
        """Let rows have their turn, until some `most` traces were looked at: those that are quiet. None are only if no
        row is left. `is_all`: no row is missing that came until now."""
        found: dict[int, None] = {}
        while self._has_turn(now_ns, is_all):
            self._grow(self._pop_young(), found)
            if len(found) >= most:
                quiet = self._quiet(found)
                if quiet:
                    return quiet
                found = {}  # a young row speaks of each, and will have its turn
        return self._quiet(found)

    def turn_all(self) -> list[int]:
        """Let all rows have their turn, whatever their age: all open traces."""
        while self._young:
            self._grow(self._pop_young(), {})
        return list(self._open)

    def last_turn(self, now_ns: int, *, most: int, is_all: bool) -> list[int]:
        """The traces that are to be decided in any case, with all that came of them; `most`, or a row's more."""
        overdue: dict[int, None] = {}
        old_links: dict[int, _Row] = {}
        while self._has_last_turn(now_ns, is_all) and len(overdue) < most:
            row = self._rows[self._grown.popleft()]
            overdue.update((key, None) for key in row.facts if row.seq in self._open.get(key, ()))
            old_links.update((key, row) for key in row.links if row.seq in self._links.get(key, ()))
        self._expire(old_links)
        return self.with_young(overdue)

    def has_turns(self, now_ns: int, *, is_all: bool) -> bool:
        """Whether `turn` or `last_turn` have left some."""
        return self._has_turn(now_ns, is_all) or self._has_last_turn(now_ns, is_all)

    def _has_turn(self, now_ns: int, is_all: bool) -> bool:
        young = self._young
        if not young or young[0].came_ns + self._quiet_ns > now_ns:
            return False
        return is_all or self._known > 0

    def _pop_young(self) -> _Row:
        row = self._young.popleft()
        if self._known:
            self._known -= 1
            self._known_traces -= row.traces
        return row

    def _has_last_turn(self, now_ns: int, is_all: bool) -> bool:
        while self._grown and self._grown[0] not in self._rows:
            self._grown.popleft()
        if not self._grown:
            return False
        until_ns = now_ns if is_all else min(now_ns, self._newest_ns)
        return self._rows[self._grown[0]].came_ns + self._max_ns <= until_ns

    def quiet(self, keys: Iterable[int]) -> list[int]:
        """Of these, the open traces of which no young row speaks."""
        return self._quiet(dict.fromkeys(key for key in keys if key in self._open))

    def with_young(self, keys: Iterable[int]) -> list[int]:
        """Those of these traces that are open, with what young rows have of them, too."""
        open_ = [key for key in keys if key in self._open]
        found = set(open_)
        for row in self._young if found else ():
            mine = found.intersection(row.facts) | found.intersection(row.links)
            if mine:
                row.facts = array("q", [key for key in row.facts if key not in mine])
                row.links = array("q", [key for key in row.links if key not in mine])
                for key in mine:
                    self._open[key] += (row.seq,)
                row.needed_by += len(mine)
        return open_

    def rows_of(self, keys: Iterable[int]) -> dict[int, set[int]]:
        """The rows that these open traces are in, and of each, whose they are."""
        rows: dict[int, set[int]] = {}
        for key in keys:
            for seq in self._open[key]:
                mine = rows.get(seq)
                if mine is None:
                    rows[seq] = {key}
                else:
                    mine.add(key)
        return rows

    def decided(self, keys: Iterable[int]) -> None:
        """Let go of these traces: they are settled."""
        rows = self._rows
        for key in keys:
            for seq in self._open.pop(key):
                row = rows[seq]
                row.needed_by -= 1
                if not row.needed_by and not row.is_young:
                    self._spent.append(seq)

    @property
    def spent_rows(self) -> Sequence[int]:
        """Rows that nobody needs any more. They count for the oldest until they are removed."""
        return self._spent

    def removed(self) -> None:
        """The spent rows are out of the journal, for good."""
        for seq in self._spent:
            del self._rows[seq]
        self._spent = []

    def set_aside(self, keys: Iterable[int]) -> None:
        """Forget these traces, and keep their rows."""
        for key in keys:
            del self._open[key]

    def _grow(self, row: _Row, found: dict[int, None]) -> None:
        row.is_young = False
        self._grown.append(row.seq)
        alone = (row.seq,)
        open_, links = self._open, self._links
        for key in row.facts:
            before = open_.get(key)
            open_[key] = links.pop(key, ()) + alone if before is None else before + alone
            found[key] = None
        reopened = [key for key in row.links if key in self.parked and key not in open_]
        for key in row.links:
            if key in open_:
                open_[key] += alone
                found[key] = None
            elif key in self.parked:
                open_[key] = links.pop(key, ()) + alone
                found[key] = None
            else:
                links[key] = links.get(key, ()) + alone
        row.needed_by += len(row.facts) + len(row.links)
        row.facts.extend(reopened)
        if not row.needed_by:
            self._spent.append(row.seq)

    def _quiet(self, found: Iterable[int]) -> list[int]:
        """Those of which no young row speaks."""
        keys = set(found)
        restless: set[int] = set()
        for row in self._young if keys else ():
            restless.update(keys.intersection(row.facts), keys.intersection(row.links))
        return [key for key in found if key not in restless]

    def _expire(self, old: Mapping[int, _Row]) -> None:
        """Let go of links of traces without facts, and these rows' ages: of all that are known of a trace, where none
        came later; otherwise of the oldest."""
        silent = set(self._quiet(old))
        for key, row in old.items():
            rows = self._links.pop(key)
            is_newest = key in silent and rows[-1] == row.seq
            too_old_ns = row.came_ns - LINKS_FOR * self._max_ns
            kept = () if is_newest else tuple(seq for seq in rows if self._rows[seq].came_ns > too_old_ns)
            if kept:
                self._links[key] = kept
            for seq in rows[: len(rows) - len(kept)]:
                self._rows[seq].needed_by -= 1
                if not self._rows[seq].needed_by:
                    self._spent.append(seq)
