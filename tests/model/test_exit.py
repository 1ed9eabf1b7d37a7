"""A program may end while it speaks: no crash, no message, status 0."""

from __future__ import annotations

import subprocess
import sys

import pytest

HALF_READ = """
import sys
from pocketquant import TTSModel
model = TTSModel.load_model("demo", threads=int(sys.argv[1]))
stream = model.generate_audio_stream(model.get_state_for_audio_prompt("heart"), "A long text. " * 200)
next(stream)
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_leaving_in_the_middle(threads: int) -> None:
    command = [sys.executable, "-c", HALF_READ, str(threads)]
    for _ in range(3):  # it is a matter of moments
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
