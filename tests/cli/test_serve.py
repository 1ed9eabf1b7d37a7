"""`pocketquant serve`: starts, answers, ends; and what it refuses."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
from typer.testing import CliRunner

from pocketquant.cli.app import app
from pocketquant.config import catalog
from pocketquant.errors import PocketQuantError

LONG = "text=" + "+A+long+text+is+read+aloud." * 400


def test_from_start_to_end() -> None:
    """Ctrl-C ends it at once and without a traceback, though somebody is still listening."""
    command = [sys.executable, "-m", "pocketquant", "serve", "--language", "demo", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            assert server.stderr.readline().strip() == catalog.DEMO_NOTE
            line = server.stderr.readline()
            found = re.fullmatch(r"listening on (http://localhost:\d+) \(Ctrl-C ends it\)\n", line)
            assert found, line
            with urllib.request.urlopen(f"{found[1]}/health", timeout=10) as answer:
                assert answer.read() == b'{"status":"healthy"}'
            with urllib.request.urlopen(f"{found[1]}/tts", LONG.encode(), timeout=10) as answer:
                assert answer.read(4) == b"RIFF"
                server.send_signal(signal.SIGINT)
                assert server.wait(timeout=20) == 0
            assert server.stderr.read() == ""
        finally:
            server.kill()


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = CliRunner().invoke(app, ["serve", "--host", "127.0.0.1", "--port", str(port)])
    assert isinstance(found.exception, PocketQuantError)
    assert str(found.exception).startswith(f"cannot listen on 127.0.0.1:{port} (")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "no such host"], "cannot listen on no such host:8000"),
        (["--reload"], "leave the option out"),
        (["--port", "0", "--language", "demo", "--default-voice", "alba"], "no predefined voice 'alba'"),
    ],
)
def test_refused(options: list[str], words: str) -> None:
    found = CliRunner().invoke(app, ["serve", *options])
    assert isinstance(found.exception, PocketQuantError)
    assert words in str(found.exception)


def test_without_its_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("pocketquant.server")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    found = CliRunner().invoke(app, ["serve"])
    assert isinstance(found.exception, PocketQuantError)
    assert "pip install 'pocketquant[server]'" in str(found.exception)
