"""``aerloom`` and ``python -m aerloom``: the command line."""

import sys


def main() -> None:
    """:func:`aerloom.host.cli.main`, and the same exit code after Ctrl-C while that is still being imported."""
    try:
        from .host import cli

        cli.main()
    except KeyboardInterrupt:
        sys.exit(2)


if __name__ == "__main__":
    main()
