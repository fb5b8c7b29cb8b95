"""`python -m dispatchd` is the `dispatchd` command."""

from dispatchd.cli import main

if __name__ == "__main__":
    main()
