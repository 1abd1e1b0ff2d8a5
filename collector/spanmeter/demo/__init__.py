"""The demonstration: a local stand-in for an LLM service and a small agent program that calls it."""
