"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pocketquant.errors import PocketQuantError
from pocketquant.files import atomic_path


def test_appears_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"new")
        assert not target.exists()
        assert temporary.parent == tmp_path
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


def test_failure_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_full_disk_is_one_line(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    with pytest.raises(PocketQuantError, match="no space left") as caught, atomic_path(target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is a Linux device")
def test_a_really_full_device(tmp_path: Path) -> None:
    with pytest.raises(PocketQuantError, match="no space left"), atomic_path(tmp_path / "out.bin"):
        with open("/dev/full", "wb") as full:
            full.write(b"x" * 100_000)


def test_missing_folder_and_folder_as_name(tmp_path: Path) -> None:
    with pytest.raises(PocketQuantError, match="does not exist"), atomic_path(tmp_path / "no" / "out.bin"):
        pass
    with pytest.raises(PocketQuantError, match="is a folder"), atomic_path(tmp_path):
        pass


def test_mode_is_that_of_a_plain_file(tmp_path: Path) -> None:
    plain, ours = tmp_path / "plain", tmp_path / "ours"
    plain.write_bytes(b"")
    with atomic_path(ours) as temporary:
        temporary.write_bytes(b"")
    assert ours.stat().st_mode == plain.stat().st_mode
    ours.chmod(0o640)
    with atomic_path(ours) as temporary:
        temporary.write_bytes(b"again")
    assert ours.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_killed_in_the_middle(tmp_path: Path, kill: signal.Signals) -> None:
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")
    program = textwrap.dedent("""
        import sys, time
        from pocketquant.files import atomic_path
        with atomic_path(sys.argv[1]) as temporary:
            temporary.write_bytes(b"half")
            print("writing", flush=True)
            time.sleep(60)
    """)
    with subprocess.Popen(
        [sys.executable, "-c", program, str(target)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "writing\n"
        started = time.monotonic()
        child.send_signal(kill)
        child.wait(timeout=20)
    assert time.monotonic() - started < 20
    assert child.returncode != 0
    assert target.read_bytes() == b"old"
