"""spanmeter: OpenTelemetry GenAI spans to usage events that bill the right customer, once."""

__version__ = "0.1.0"
