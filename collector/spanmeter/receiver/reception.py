"""What both servers do with a body: decode it, have it journalled, and say what to answer."""

from concurrent.futures import Future
from dataclasses import dataclass

from spanmeter.pipeline.intake import Intake
from spanmeter.usage.span import Vocabulary
from spanmeter.wire.request import DecodedRequest

COMMIT_TIMEOUT_S = 30.0
"""A commit that takes longer is not waited for: the client is told to send again, which is safe."""
RETRY_AFTER_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A request that is queued; it may be acknowledged when `done` has ended without an error."""

    done: "Future[None]"
    rejected: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """Where both servers hand in what they received."""

    intake: Intake
    vocabulary: Vocabulary
    max_body_bytes: int

    def accept(self, request: DecodedRequest) -> Accepted:
        """Queue a decoded request. Raises `OverloadedError`."""
        return Accepted(done=self.intake.submit(request), rejected=request.rejected, message=request.rejection)
