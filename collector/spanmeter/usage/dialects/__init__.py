"""The vocabularies that spanmeter knows, most specific first: the first that recognises a span decides what it is."""

from spanmeter.usage.dialects import (
    google_adk,
    logfire,
    microsoft,
    otel_genai,
    pipecat,
    pydantic_ai,
    spring_ai,
    strands,
)
from spanmeter.usage.dialects.dialect import Dialect

DIALECTS: tuple[Dialect, ...] = (
    logfire.DIALECT,
    pydantic_ai.DIALECT,
    strands.DIALECT,
    google_adk.DIALECT,
    microsoft.DIALECT,
    spring_ai.DIALECT,
    pipecat.DIALECT,
    otel_genai.DIALECT,
)
