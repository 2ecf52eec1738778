"""`python -m detente`: inference alone."""

from detente.cli import run

if __name__ == "__main__":
    run()
