"""How the demonstration shows itself: results on standard output, progress on standard error."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table


class Display(Protocol):
    """While the work goes on: `show` which step it is at, and what it does or has counted; `say` a result; `finish`
    when the last step is done. A step ends when the next is shown."""

    def show(self, step: str, doing: str, *, done: int = 0, total: int | None = None) -> None: ...

    def say(self, line: str) -> None: ...

    def finish(self) -> None: ...


class ProgressDisplay:
    """A line for each step, below the results; those of the present step move."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._step = ""
        self._task: TaskID | None = None
        # Where both streams are one terminal, a result must pass by the moving lines, or both are garbled.
        self._out = progress.console if sys.stdout.isatty() else Console()

    def show(self, step: str, doing: str, *, done: int = 0, total: int | None = None) -> None:
        if self._task is None or step != self._step:
            self.finish()
            self._step = step
            self._task = self._progress.add_task("", total=total)
        self._progress.update(self._task, description=_line(step, doing, done, total), completed=done)

    def say(self, line: str) -> None:
        self._out.out(line, highlight=False)

    def finish(self) -> None:
        if self._task is not None:
            self._progress.update(self._task, completed=1, total=1)


class PlainDisplay:
    """A line for each step, and one more when its count is full."""

    def __init__(self) -> None:
        self._last = ""

    def show(self, step: str, doing: str, *, done: int = 0, total: int | None = None) -> None:
        line = _line(step, doing, done, total if done == total else None)
        if line != self._last:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
            self._last = line

    def say(self, line: str) -> None:
        say(line)

    def finish(self) -> None:
        self.show("done", "")


@contextmanager
def open_display() -> Iterator[Display]:
    """Moving lines where standard error is a terminal, plain ones otherwise."""
    if not sys.stderr.isatty():
        yield PlainDisplay()
        return
    with Progress(
        SpinnerColumn(finished_text="✓"),
        BarColumn(bar_width=16),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        redirect_stdout=False,
        redirect_stderr=False,
    ) as progress:
        yield ProgressDisplay(progress)


def say(text: str) -> None:
    """On standard output, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str | int]]) -> None:
    """On standard output; numbers to the right, a rule above a row that begins with `total`."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for at, name in enumerate(head):
        is_text = any(isinstance(row[at], str) and not str(row[at]).startswith("$") for row in rows)
        table.add_column(name, justify="left" if is_text else "right", no_wrap=True)
    for row in rows:
        if row[0] == "total":
            table.add_section()
        table.add_row(*(f"{cell:,}" if isinstance(cell, int) else cell for cell in row))
    Console(highlight=False).print(table)


def _line(step: str, doing: str, done: int, total: int | None) -> str:
    line = f"{step:<10} {doing}" if total is None else f"{step:<10} {doing} {done} of {total}"
    return line.rstrip()
