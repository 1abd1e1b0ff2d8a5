"""Whether to take for granted that what comes is new, which it nearly always is."""

MOST_ROUNDS = 256


class Presumption:
    """That the books have nothing of the calls of a round. They refuse it where they have; then the round is decided
    once more, after they were asked, and so are the next ones, twice as many with each time: who goes on with traces
    that were decided before pays little for it. To ask first takes an eighth of what deciding costs.
    """

    def __init__(self) -> None:
        self._rounds_to_ask = 0
        self._rounds_if_refuted = 1

    def make(self) -> bool:
        """Whether it is made for this round. Asked once for each."""
        if not self._rounds_to_ask:
            return True
        self._rounds_to_ask -= 1
        return False

    def confirmed(self) -> None:
        self._rounds_if_refuted = max(1, self._rounds_if_refuted // 2)

    def refuted(self) -> None:
        self._rounds_to_ask = self._rounds_if_refuted
        self._rounds_if_refuted = min(2 * self._rounds_if_refuted, MOST_ROUNDS)
