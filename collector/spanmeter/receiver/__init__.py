"""The OTLP servers."""
