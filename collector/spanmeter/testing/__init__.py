"""Stand-ins for what tests cannot have: the service, an outbox without a disk, a clock that is told the time."""
