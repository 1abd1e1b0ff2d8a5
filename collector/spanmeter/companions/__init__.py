"""Further processes of `spanmeter serve`, which receive beside it, and their supervision."""
