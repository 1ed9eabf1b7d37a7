"""Tables for the terminal: drawn by rich for a person, plain aligned lines for a pipe.

Names and facts come from files that anyone may have written, so control characters never reach the terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Column:
    heading: str
    right: bool = False
    fold: bool = False
    """May be broken over lines; all others keep their width."""
    min_width: int = 0
    """Left out on terminals with fewer columns; a pipe gets every column."""


def printable(text: str) -> str:
    """The text without control characters (escape sequences, line breaks): each becomes "?"."""
    return "".join(character if character.isprintable() else "?" for character in text)


def print_table(
    console: Console, columns: Sequence[Column], rows: Iterable[Sequence[str]], *, total: bool = False
) -> None:
    """Print rows of cells, one per column. total: the last row is a sum and is set apart."""
    cells = [[printable(cell) for cell in row] for row in rows]  # before their widths are taken
    if not console.is_terminal:
        _print_plain(console, columns, cells)
        return
    shown = [index for index, column in enumerate(columns) if console.width >= column.min_width]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    for column in (columns[index] for index in shown):
        table.add_column(
            column.heading,
            justify="right" if column.right else "left",
            overflow="fold",
            no_wrap=not column.fold,
        )
    for number, row in enumerate(cells, start=1):
        last = total and number == len(cells)
        table.add_row(*(Text(row[index]) for index in shown), style="bold" if last else "")
    console.print(table)


def print_facts(console: Console, facts: Mapping[str, str]) -> None:
    """Print label and value, one pair a line."""
    width = max(map(len, facts), default=0)
    if not console.is_terminal:
        for label, value in facts.items():
            print_line(console, f"{label:<{width}}  {value}")
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in facts.items():
        grid.add_row(label, Text(printable(value)))
    console.print(grid)


def print_line(console: Console, text: str, style: str = "") -> None:
    """Print one line, wrapped on a terminal only; no markup, no control characters."""
    console.print(Text(printable(text), style=style), soft_wrap=not console.is_terminal)


def _print_plain(console: Console, columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> None:
    lines = [[column.heading for column in columns], *cells]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        padded = (
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        )
        print_line(console, "  ".join(padded).rstrip())
