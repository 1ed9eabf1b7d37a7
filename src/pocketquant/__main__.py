"""`python -m pocketquant`."""

from __future__ import annotations

from pocketquant.cli import main

if __name__ == "__main__":
    main()
