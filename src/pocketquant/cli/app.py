"""The typer application: every command registered, every error one line."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer
from rich.logging import RichHandler
from rich.text import Text

from pocketquant.cli import bench, compare, demo, evaluate, inspect, quantize, serve, speak
from pocketquant.cli.console import err_console
from pocketquant.errors import PocketQuantError
from pocketquant.version import __version__

EXIT_ERROR = 2

app = typer.Typer(
    help="Pocket TTS in 8 or 4 bits: small, fast on a CPU, without PyTorch.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(quantize.quantize)
app.command()(inspect.inspect)
app.command()(compare.compare)
app.command()(evaluate.evaluate)
app.command()(quantize.dequantize)
app.command()(speak.generate)
app.command(name="export-voice")(speak.export_voice)
app.command()(serve.serve)
app.command()(demo.demo)
app.command()(bench.bench)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit()


class _RetriesInOneLine(logging.Filter):
    """The hub's library tells every failed attempt in two lines; the user hears once why it takes a while."""

    def __init__(self) -> None:
        super().__init__()
        self.told = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to show a record; the first one about an attempt is shortened."""
        if not record.getMessage().startswith("Retrying"):
            return "thrown while requesting" not in record.getMessage()
        record.msg, record.args = "the Hugging Face hub does not answer; trying again for half a minute", ()
        self.told, told = True, self.told
        return not told


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    handler = RichHandler(console=err_console, show_time=False, show_path=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    logging.getLogger("huggingface_hub").propagate = False  # it has a handler of its own
    logging.getLogger("huggingface_hub.utils._http").addFilter(_RetriesInOneLine())


def run() -> None:
    """Run the application; every error of ours becomes one line and exit code 2."""
    try:
        app()
    except PocketQuantError as error:
        err_console.print(Text.assemble(("error: ", "bold red"), str(error)), soft_wrap=True)
        sys.exit(EXIT_ERROR)
    except BrokenPipeError:  # `pocketquant inspect X | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
