"""Entry point of the command: `multiprobe …` and `python -m multiprobe …`."""

from __future__ import annotations


def main() -> int:
    """Run the command line and return its exit status."""
    from multiprobe.bytecode import install

    install()
    from multiprobe.cli.main import run

    return run()


if __name__ == "__main__":
    raise SystemExit(main())
