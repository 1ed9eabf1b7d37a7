"""`pocketquant generate` and `export-voice`, as somebody at a shell uses them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pocketquant.audio import read_audio, to_pcm16
from pocketquant.cli import main
from pocketquant.model.tts import TTSModel

TEXT = "The old clock."
BASE = ["--language", "demo", "--text", TEXT]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit code of `pocketquant ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["pocketquant", *arguments])
    try:
        main()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    return 0


@pytest.fixture(scope="module")
def spoken() -> Any:
    model = TTSModel.load_model("demo")
    return model.generate_audio(model.get_state_for_audio_prompt("heart"), TEXT)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_generate_writes_what_the_api_says(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    spoken: Any,
    suffix: str,
) -> None:
    path = tmp_path / f"out{suffix}"
    assert run(monkeypatch, "generate", *BASE, "--output-path", str(path)) == 0
    samples, rate = read_audio(path)
    assert rate == 24000
    assert samples.size == spoken.size + 4800
    np.testing.assert_array_equal(np.rint(samples[: spoken.size] * 32768), to_pcm16(spoken))
    output = capfd.readouterr()
    assert output.out == ""
    assert "The voice in the box speaks" in output.err


def test_quiet(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(monkeypatch, "generate", *BASE, "-q", "--output-path", str(tmp_path / "a.mp3")) == 0
    assert capfd.readouterr() == ("", "")
    assert soundfile.info(tmp_path / "a.mp3").duration > 0.5


def test_defaults_and_every_option(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "generate", "--language", "demo") == 0
    default = read_audio("tts_output.wav")[0]
    options = [
        "--temperature",
        "0.5",
        "--noise-clamp",
        "1",
        "--eos-threshold",
        "0.5",
        "--frames-after-eos",
        "2",
        "--max-tokens",
        "20",
    ]
    options += [
        "--sampler-decode-steps",
        "2",
        "--recipe",
        "int8",
        "--seed",
        "3",
        "--threads",
        "1",
        "--device",
        "cpu",
        "--voice",
        "heart",
    ]
    for _ in range(2):
        assert run(monkeypatch, "generate", *BASE, *options, "--output-path", "b.wav") == 0
    first = Path("b.wav").read_bytes()
    assert run(monkeypatch, "generate", *BASE, *options, "--output-path", "b.wav") == 0
    assert Path("b.wav").read_bytes() == first
    assert default.size != read_audio("b.wav")[0].size
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.wav", "tts_output.wav"]


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_batch_says_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, threads: str) -> None:
    monkeypatch.chdir(tmp_path)
    text = "The old clock. Please wait here. Nobody knew."
    options = ["--language", "demo", "--text", text, "--max-tokens", "8", "--seed", "1", "--threads", threads]
    sizes: list[int] = []
    speak = TTSModel.generate_audio

    def noting(*arguments: Any, batch: int, **more: Any) -> Any:
        sizes.append(batch)
        return speak(*arguments, batch=batch, **more)

    monkeypatch.setattr(TTSModel, "generate_audio", noting)
    assert run(monkeypatch, "generate", *options, "--output-path", "one.wav") == 0
    assert run(monkeypatch, "generate", *options, "--output-path", "many.wav", "--batch", "3") == 0
    assert sizes == [3]
    one, many = read_audio("one.wav")[0], read_audio("many.wav")[0]
    np.testing.assert_allclose(one, many, rtol=0, atol=1e-2)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from pocketquant.cli import main; main()", *arguments]


def test_warnings_are_shown_unless_quiet(tmp_path: Path) -> None:
    endless = command("generate", *BASE, "--eos-threshold", "1e9", "--output-path", str(tmp_path / "a.wav"))
    for quiet in (False, True):
        done = subprocess.run(
            [*endless, "-q"] if quiet else endless, capture_output=True, timeout=120, check=True
        )
        assert (b"did not end" in done.stderr) is not quiet
        assert done.stdout == b""


def test_standard_input_to_standard_output(spoken: Any) -> None:
    done = subprocess.run(
        command("generate", "--language", "demo", "--text", "-", "--output-path", "-"),
        input=TEXT.encode(),
        capture_output=True,
        timeout=120,
        check=True,
    )
    assert done.stdout[:4] == b"RIFF"
    samples = np.frombuffer(done.stdout[44:], "<i2")
    np.testing.assert_array_equal(samples[:-4800], to_pcm16(spoken))
    assert not samples[-4800:].any()
    assert b"in the box" in done.stderr


def test_a_reader_that_goes_away_is_no_error() -> None:
    with subprocess.Popen(
        command(
            "generate", "--language", "demo", "--text", " ".join([TEXT] * 40), "--output-path", "-", "-q"
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(100)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    long = " ".join([TEXT] * 500)
    with subprocess.Popen(
        command("generate", "--language", "demo", "--text", long, "--output-path", str(tmp_path / "out.wav")),
        stderr=subprocess.PIPE,
    ) as process:
        deadline = time.monotonic() + 60
        while not any(
            path.stat().st_size > 10_000 for path in tmp_path.iterdir()
        ):  # the temporary file grows
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        start = time.monotonic()
        assert process.wait(30) == 130
        assert time.monotonic() - start < 5
        assert list(tmp_path.iterdir()) == []
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "--language", "demo", "--text", " "], "the text is empty"),
        (["generate", "--language", "demmo", "--text", "a"], "did you mean"),
        (["generate", *BASE, "--voice", "hart"], "did you mean heart"),
        (["generate", *BASE, "--voice", "me.wav"], "cannot clone"),
        (["generate", *BASE, "--config", "a.yaml"], "choose one of them"),
        (["generate", *BASE, "--output-path", "a.aac"], "use .wav"),
        (["generate", *BASE, "--output-path", "no/where/a.wav"], "does not exist"),
        (["generate", *BASE, "--device", "cuda"], "CPU only"),
        (["generate", *BASE, "--recipe", "int5"], "unknown recipe"),
        (["generate", *BASE, "--checkpoint", "run.pt"], "never opened"),
        (["generate", "--weights", "nowhere.safetensors"], "nowhere.safetensors"),
        (["export-voice", "me.wav", "me.txt", "--language", "demo"], "ends in .safetensors"),
        (["export-voice", ".", "voices", "--language", "demo"], "no recordings"),
        (["export-voice", "me.wav", "me.safetensors", "--language", "demo"], "cannot clone"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *arguments) == 2
    output = capfd.readouterr()
    assert output.out == ""
    assert message in output.err
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_text_that_is_no_text(tmp_path: Path) -> None:
    done = subprocess.run(
        command("generate", "--language", "demo", "--text", "-", "--output-path", str(tmp_path / "a.wav")),
        input=b"\xff\xfe\xff",
        capture_output=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    assert done.returncode == 2
    assert b"not UTF-8" in done.stderr


class TestExportVoice:
    """With weights that may clone (the demo's encoder; what comes out is no likeness)."""

    @pytest.fixture(autouse=True)
    def _may_clone(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        load = TTSModel.load_model

        def cloning(*arguments: Any, **options: Any) -> TTSModel:
            model = load(*arguments, **options)
            model.has_voice_cloning = True
            return model

        monkeypatch.setattr(TTSModel, "load_model", cloning)
        monkeypatch.chdir(tmp_path)
        sound = (0.3 * np.sin(np.arange(24000) / 20)).astype(np.float32)
        Path("voices").mkdir()
        soundfile.write("voices/one.wav", sound, 24000)
        soundfile.write("voices/two.flac", sound, 16000)

    def test_one_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert (
            run(monkeypatch, "export-voice", "voices/one.wav", "one.safetensors", "--language", "demo") == 0
        )
        assert (
            run(monkeypatch, "generate", *BASE, "--voice", "one.safetensors", "--output-path", "a.wav") == 0
        )
        assert Path("a.wav").stat().st_size > 10_000

    def test_one_file_into_a_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert run(monkeypatch, "export-voice", "voices/one.wav", "voices", "--language", "demo") == 0
        assert Path("voices/one.safetensors").exists()

    def test_a_folder(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        assert run(monkeypatch, "export-voice", "voices", "out", "--language", "demo") == 0
        assert sorted(path.name for path in Path("out").iterdir()) == ["one.safetensors", "two.safetensors"]
        Path("voices/three.wav").write_text("no sound")
        assert run(monkeypatch, "export-voice", "voices", "again", "--language", "demo") == 2
        assert len(list(Path("again").iterdir())) == 2
        assert "1 of 3 recordings" in capfd.readouterr().err
