"""Brings the outbox's events to the service: none lost, none invented, the refused ones set aside with the reason."""
