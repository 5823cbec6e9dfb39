"""Entry point of the command: `multiprobe …` and `python -m multiprobe …`."""

from __future__ import annotations

from multiprobe.cli.main import run


def main() -> int:
    """Run the command line and return its exit status."""
    return run()


if __name__ == "__main__":
    raise SystemExit(main())
