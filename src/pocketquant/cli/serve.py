"""`pocketquant serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from pocketquant.cli.console import say, status
from pocketquant.cli.speak import (
    VOICE_HELP,
    Config,
    Language,
    Quantize,
    RecipeName,
    Threads,
    Weights,
    say_if_demo,
)
from pocketquant.errors import PocketQuantError
from pocketquant.model.tts import TTSModel


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 is every one of this machine.")
    ] = "localhost",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8000,
    reload: Annotated[bool, typer.Option("--reload", hidden=True, help="Not available.")] = False,
    language: Language = None,
    config: Config = None,
    default_voice: Annotated[
        str | None, typer.Option(help=f"For requests that name no voice. {VOICE_HELP}", show_default=False)
    ] = None,
    quantize: Quantize = False,
    weights: Weights = None,
    recipe: RecipeName = None,
    threads: Threads = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            help="A web page from elsewhere that may use the server, such as http://localhost:3000."
        ),
    ] = None,
) -> None:
    """Speak over HTTP, as the official server does: POST /tts, and a page to try it with."""
    try:
        from pocketquant.server import create_app, listening, run
    except ImportError as error:
        raise PocketQuantError(
            f"serve needs {error.name}, which is not installed; run `pip install 'pocketquant[server]'`"
        ) from error
    if reload:
        raise PocketQuantError("--reload: there is no code of yours to reload; leave the option out")
    with listening(host, port) as sockets:
        with status("loading the model"):
            model = TTSModel.load_model(
                language, config, quantize=recipe or quantize, weights=weights, threads=threads
            )
        voice = default_voice or model.default_voice
        with status(f"preparing the voice {voice}"):
            state = model.get_state_for_audio_prompt(voice)
        say_if_demo(model)
        app = create_app(model, state, origins=allow_origin or ())
        say(f"listening on http://{host}:{sockets[0].getsockname()[1]} (Ctrl-C ends it)")
        run(app, sockets)
