"""Where the command line writes: results to stdout, everything else to stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

console = Console(highlight=False)
err_console = Console(stderr=True, highlight=False)


def say(line: str) -> None:
    """Print a line on stderr."""
    err_console.print(Text(line), soft_wrap=True)


@contextmanager
def status(what: str, quiet: bool = False) -> Iterator[None]:
    """A spinner on stderr while something takes its time, if stderr is a terminal."""
    if quiet or not err_console.is_terminal:
        yield
        return
    with err_console.status(Text(what)):
        yield


@contextmanager
def progress(total: int, description: str) -> Iterator[Callable[[str], None]]:
    """A progress bar on stderr while the block runs; silent where stderr is no terminal.

    Yields a function to call with the name of each finished item.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[item]}[/dim]", table_column=None),
    )
    with Progress(*columns, console=err_console, transient=True, disable=not err_console.is_terminal) as bar:
        task = bar.add_task(description, total=total, item="")

        def advance(item: str) -> None:
            bar.update(task, advance=1, item=item)

        yield advance
