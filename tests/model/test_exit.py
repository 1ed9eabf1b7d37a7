"""A program may end while it speaks: no crash, no message, status 0."""

from __future__ import annotations

import subprocess
import sys

import pytest

THREADS = """
import sys, threading, time
from pocketquant import TTSModel
model = TTSModel.load_model("demo", threads=int(sys.argv[1]))
voice = model.get_state_for_audio_prompt("heart")
begun = threading.Barrier(4)
def speak():
    for number, _ in enumerate(model.generate_audio_stream(voice, "A long text is read aloud. " * 200)):
        if number == 2:
            begun.wait()
for _ in range(3):
    threading.Thread(target=speak, daemon=True).start()
begun.wait()
"""
HALF_READ = """
import sys
from pocketquant import TTSModel
model = TTSModel.load_model("demo", threads=int(sys.argv[1]))
stream = model.generate_audio_stream(model.get_state_for_audio_prompt("heart"), "A long text. " * 200)
next(stream)
"""


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("program", [THREADS, HALF_READ], ids=["daemon threads", "a stream half read"])
def test_leaving_in_the_middle(program: str, threads: int) -> None:
    command = [sys.executable, "-c", program, str(threads)]
    for _ in range(3):  # it is a matter of moments
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
