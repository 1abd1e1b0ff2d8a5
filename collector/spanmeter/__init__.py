"""spanmeter: OpenTelemetry GenAI spans to usage events that bill the right customer, once."""

from spanmeter.binding import dimensions, tenant

__all__ = ["dimensions", "tenant"]
__version__ = "0.1.0"
