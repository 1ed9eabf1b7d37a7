"""What all tests need."""

from __future__ import annotations

import signal

# Run in the background of a script, Python finds SIGINT ignored and leaves it so, and the processes that tests start
# inherit that: Ctrl-C could not be tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
