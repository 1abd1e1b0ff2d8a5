# Shortcuts; the README's commands are the reference.
.PHONY: check lint types contracts test
check: lint types contracts test
lint:
	ruff check . && ruff format --check .
types:
	mypy
contracts:
	lint-imports
test:
	pytest
