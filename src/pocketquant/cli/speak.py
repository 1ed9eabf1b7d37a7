"""`pocketquant generate` and `pocketquant export-voice`."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from pocketquant.audio import FORMATS, Samples, check_destination, stream_wav, write_audio
from pocketquant.checkpoint.voice import VoiceState
from pocketquant.cli.console import err_console, say, status
from pocketquant.config import catalog
from pocketquant.errors import AudioError, PocketQuantError, TextError
from pocketquant.model.tts import MAX_TOKENS, TTSModel, export_model_state

LANGUAGE_HELP = (
    "The official model to speak with: "
    + ", ".join(catalog.languages())
    + "; or 'demo', the one in the box. "
    "Not together with --config. Default: 'english', the same as 'english_2026-10'. "
    "The '24l' models are larger previews, not distilled yet."
)
CONFIG_HELP = (
    "A model config (.yaml): a local path, an https:// or an hf:// address. Not together with --language."
)
WEIGHTS_HELP = (
    "A file that `pocketquant quantize` wrote (it needs nothing else), or another checkpoint of the model."
)
RECIPE_HELP = "Quantize while loading, by this recipe: int8, int4, int8-lm, origin."
VOICE_HELP = (
    "A predefined voice, a recording to clone, or an exported voice (.safetensors); files may be local, https:// or "
    "hf://. Default: the language's own (giovanni, lola, juergen, rafael, estelle, daan), else alba."
)

Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")]
Language = Annotated[str | None, typer.Option(help=LANGUAGE_HELP, show_default=False)]
Config = Annotated[str | None, typer.Option(help=CONFIG_HELP)]
Weights = Annotated[str | None, typer.Option(help=WEIGHTS_HELP)]
Quantize = Annotated[
    bool,
    typer.Option("--quantize/--no-quantize", help="Quantize while loading, as the official package does."),
]
RecipeName = Annotated[str | None, typer.Option("--recipe", metavar="NAME", help=RECIPE_HELP)]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Threads to use. 1: model and decoder take turns; 2: they run side by side; more help with the voice, "
        "prompts and batches. The speech is the same. Default: 2, or 1 on one processor.",
    ),
]


def generate(
    text: Annotated[str | None, typer.Option(help="What to say; '-' reads it from standard input.")] = None,
    voice: Annotated[str | None, typer.Option(help=VOICE_HELP, show_default=False)] = None,
    quiet: Quiet = False,
    language: Language = None,
    config: Config = None,
    weights: Weights = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="A training checkpoint (.pt). Never opened: convert it first.")
    ] = None,
    sampler_decode_steps: Annotated[int, typer.Option(min=1, help="Steps of the flow head per frame.")] = 1,
    lsd_decode_steps: Annotated[
        int | None, typer.Option(hidden=True, help="Deprecated: use --sampler-decode-steps.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0.0, help="Variance of the noise. Default: the model's own (0.3).")
    ] = None,
    noise_clamp: Annotated[float | None, typer.Option(help="Keep the noise within +- this.")] = None,
    eos_threshold: Annotated[
        float | None, typer.Option(help="Stop above this end-of-speech logit. Default: the model's own (-4).")
    ] = None,
    frames_after_eos: Annotated[
        int | None, typer.Option(min=0, help="Frames of 80 ms to go on after the end of speech.")
    ] = None,
    output_path: Annotated[
        str,
        typer.Option(
            help=f"The file to write ({', '.join(FORMATS)}); '-' streams raw WAV to standard output."
        ),
    ] = "./tts_output.wav",
    device: Annotated[str, typer.Option(help="Only 'cpu'.")] = "cpu",
    max_tokens: Annotated[
        int, typer.Option(min=1, help="Longest piece of text spoken at once, in tokens.")
    ] = MAX_TOKENS,
    quantize: Quantize = False,
    recipe: RecipeName = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed gives the same speech.")] = None,
    threads: Threads = None,
    batch: Annotated[
        int,
        typer.Option(
            min=1,
            help="Sentences spoken at the same time: a long text is done sooner with 4 or 8. The speech is the same; "
            "without effect where it is streamed to standard output.",
        ),
    ] = 1,
) -> None:
    """Say a text."""
    if device != "cpu":
        raise PocketQuantError(f"--device {device}: pocketquant runs on the CPU only; leave the option out")
    if output_path != "-":
        check_destination(output_path)
    if text == "-":
        text = _standard_input()
    if text is not None and not text.strip():
        raise TextError("the text is empty; give at least one word to speak")
    with _warnings(not quiet):
        with status("loading the model", quiet):
            model = TTSModel.load_model(
                language,
                config,
                temp=temperature,
                sampler_decode_steps=sampler_decode_steps,
                noise_clamp=noise_clamp,
                eos_threshold=eos_threshold,
                quantize=recipe or quantize,
                checkpoint=checkpoint,
                lsd_decode_steps=lsd_decode_steps,
                weights=weights,
                threads=threads,
                seed=seed,
            )
        voice = voice or model.default_voice
        with status(f"preparing the voice {voice}", quiet):
            state = model.get_state_for_audio_prompt(voice)
        if not quiet:
            say_if_demo(model)
        text = text or model.default_text
        if batch > 1 and output_path != "-":
            chunks = _at_once(model, state, text, max_tokens, frames_after_eos, batch)
        else:
            chunks = model.generate_audio_stream(
                state, text, max_tokens=max_tokens, frames_after_eos=frames_after_eos
            )
        with _progress(chunks, model.sample_rate, quiet) as progress:
            if output_path == "-":
                _stream(progress, model.sample_rate)
            else:
                write_audio(output_path, progress, model.sample_rate)
        if not quiet and err_console.is_terminal:
            where = "streamed" if output_path == "-" else f"wrote {output_path}:"
            say(f"{where} {progress.summary()}")


def export_voice(
    audio_path: Annotated[str, typer.Argument(help="A recording, or a folder of recordings.")],
    export_path: Annotated[str, typer.Argument(help="The voice file to write (.safetensors), or a folder.")],
    quiet: Quiet = False,
    language: Language = None,
    config: Config = None,
    weights: Weights = None,
    threads: Threads = None,
) -> None:
    """Turn a recording (its first 30 seconds) into a voice file, which loads at once."""
    jobs = _export_jobs(audio_path, Path(export_path))
    with _warnings(not quiet):
        with status("loading the model", quiet):
            model = TTSModel.load_model(language, config, weights=weights, threads=threads)
        failed = 0
        for source, destination in jobs:
            error = _export(model, source, destination, quiet)
            if error is not None and len(jobs) == 1:
                raise error
            if error is not None:
                failed += 1
                say(f"skipped: {error}")
        if failed:
            raise PocketQuantError(f"{failed} of {len(jobs)} recordings could not be exported (see above)")


def _export(model: TTSModel, source: str, destination: Path, quiet: bool) -> PocketQuantError | None:
    """Export one voice; the error if it cannot be."""
    try:
        with status(f"encoding {source}", quiet):
            export_model_state(model.get_state_for_audio_prompt(source, truncate=True), destination)
    except PocketQuantError as error:
        return error
    if not quiet:
        say(f"wrote {destination}")
    return None


def _export_jobs(source: str, destination: Path) -> list[tuple[str, Path]]:
    """(recording, voice file) pairs, for a single recording or for all of a folder."""
    folder = Path(source)
    if folder.is_dir():
        recordings = sorted(path for path in folder.iterdir() if path.suffix.lower() in FORMATS)
        if not recordings:
            raise AudioError(f"{source}: no recordings ({', '.join(FORMATS)}) in this folder")
        destination.mkdir(parents=True, exist_ok=True)
        return [(str(path), destination / f"{path.stem}.safetensors") for path in recordings]
    if destination.is_dir():
        destination /= f"{Path(source.split('@')[0]).stem}.safetensors"
    if destination.suffix != ".safetensors":
        raise PocketQuantError(f"{destination}: a voice file ends in .safetensors")
    return [(source, destination)]


def _at_once(
    model: TTSModel,
    state: VoiceState,
    text: str,
    max_tokens: int,
    frames_after_eos: int | None,
    batch: int,
) -> Iterator[Samples]:
    """The whole speech as one chunk, computed when it is asked for."""
    yield model.generate_audio(state, text, max_tokens, frames_after_eos, batch=batch)


def _standard_input() -> str:
    try:
        text = sys.stdin.read()
        text.encode()  # where Python lets undecodable bytes through, this does not
    except UnicodeError as error:
        raise TextError("the text on standard input is not UTF-8; convert it first") from error
    return text


def _stream(chunks: Iterable[Samples], sample_rate: int) -> None:
    """Stream to standard output; a listener who leaves (`| head`, a closed player) ends it, which is no error."""
    try:
        stream_wav(chunks, sample_rate)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is buffered goes nowhere


def say_if_demo(model: TTSModel) -> None:
    """Say plainly that the voice in the box speaks, where it does."""
    if model.language == catalog.DEMO:
        say(catalog.DEMO_NOTE)


@contextmanager
def _warnings(wanted: bool) -> Iterator[None]:
    """Show what the package logs as a warning, or errors only."""
    logger = logging.getLogger("pocketquant")
    before = logger.level
    logger.setLevel(before if wanted else logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


@dataclass
class _Progress:
    """The chunks as they pass by, counted."""

    chunks: Iterator[Samples]
    sample_rate: int
    samples: int = 0
    seconds: float = 0.0
    first: float = 0.0

    def __iter__(self) -> Iterator[Samples]:
        start = time.perf_counter()
        for chunk in self.chunks:
            self.samples += chunk.size
            self.seconds = time.perf_counter() - start
            self.first = self.first or self.seconds
            yield chunk

    def summary(self) -> str:
        """`3.20 s of speech in 0.40 s (8.0 x real time, first sound after 40 ms)`"""
        spoken = self.samples / self.sample_rate
        speed = spoken / self.seconds if self.seconds else 0.0
        return (
            f"{spoken:.2f} s of speech in {self.seconds:.2f} s "
            f"({speed:.1f} x real time, first sound after {1000 * self.first:.0f} ms)"
        )


@contextmanager
def _progress(chunks: Iterator[Samples], sample_rate: int, quiet: bool) -> Iterator[_Progress]:
    """Count the chunks of a generation, and end it (its threads too) however the block is left."""
    progress = _Progress(chunks, sample_rate)
    with status("speaking", quiet):
        try:
            yield progress
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
