"""Log lines on standard error: `time level message`, the hint behind it. Never a line a span, never message text."""

import logging
import sys


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        hint = getattr(record, "hint", None)
        return f"{line} ({hint})" if hint else line


def log_to_stderr(level: str) -> None:
    """Set up spanmeter's own logger; other libraries speak from WARNING up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S%z"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("spanmeter").setLevel(level)
