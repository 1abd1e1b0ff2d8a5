"""The vocabularies that spanmeter knows, most specific first: the first that recognises a span decides what it is."""

from spanmeter.usage.dialects import otel_genai
from spanmeter.usage.dialects.dialect import Dialect

DIALECTS: tuple[Dialect, ...] = (otel_genai.DIALECT,)
