"""A clock that moves when it is told to."""


class ManualClock:
    """Both clocks stand still but for `advance`. `sleep` advances: it may be given where a `sleep` is wanted."""

    def __init__(self, *, now_ns: int = 1_767_225_600_000_000_000, monotonic_s: float = 1000.0) -> None:
        self._now_ns = now_ns
        self._monotonic_s = monotonic_s

    def now_ns(self) -> int:
        return self._now_ns

    def monotonic(self) -> float:
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        self._now_ns += round(seconds * 1e9)
        self._monotonic_s += seconds

    def jump(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self._now_ns += round(seconds * 1e9)

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)
