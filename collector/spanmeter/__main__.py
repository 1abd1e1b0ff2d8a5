"""`python -m spanmeter` is the `spanmeter` command."""

from spanmeter.cli import main

if __name__ == "__main__":
    main()
