"""The plug-in: meters the LLM calls of the process that it is a guest in, under `opentelemetry-instrument`."""
