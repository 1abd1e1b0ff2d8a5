"""OTLP on the wire: request bodies to neutral spans, answers to bytes. OTLP's own types stay in this package."""
