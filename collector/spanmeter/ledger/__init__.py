"""Reading the books: what was metered, and how spanmeter fares."""
