"""Journal, outbox and ledger in one SQLite file."""
