"""Use cases between the entrances and the outbox: intake, assembly, conversion."""
