"""The command line: `pocketquant COMMAND`."""

from __future__ import annotations

import sys

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count


def main() -> None:
    """Run the command line; the entry point `pocketquant`.

    Exit codes: 0 done, 1 a gate was not passed, 2 an error (one line on stderr), 130 interrupted.
    """
    try:
        from pocketquant.cli.app import run  # loading takes a moment, in which Ctrl-C shall work too

        run()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
