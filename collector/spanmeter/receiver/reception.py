"""What both servers do with a request: have it journalled, and then answer."""

from dataclasses import dataclass

from spanmeter.pipeline.intake import Intake
from spanmeter.usage.span import Vocabulary

RETRY_AFTER_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """Where both servers hand in what they received."""

    intake: Intake
    vocabulary: Vocabulary
    max_body_bytes: int
