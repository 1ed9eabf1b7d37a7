"""`write_report`: one entry for all forms, chosen by the suffix of the file."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path

from pocketquant.errors import PocketQuantError
from pocketquant.files import atomic_path
from pocketquant.report.html import html_report
from pocketquant.report.model import Report
from pocketquant.report.tables import csv_report, json_report

FORMATS: dict[str, Callable[[Report], str]] = {
    ".html": html_report,
    ".json": json_report,
    ".csv": csv_report,
}


def check_report_path(path: str | PathLike[str]) -> Path:
    """The path if its suffix names a known form; to be called before the work, not after it.

    Raises PocketQuantError for any other suffix.
    """
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        known = ", ".join(FORMATS)
        raise PocketQuantError(
            f"{target}: no report can be written as '{target.suffix}'; end the name in one of {known}"
        )
    return target


def write_report(report: Report, path: str | PathLike[str]) -> Path:
    """Write the report as HTML, JSON or CSV (UTF-8), whole or not at all; returns the path.

    Raises PocketQuantError for an unknown suffix or a place that cannot be written.
    """
    target = check_report_path(path)
    text = FORMATS[target.suffix.lower()](report)
    with atomic_path(target) as temporary:
        Path(temporary).write_text(text, encoding="utf-8", newline="")
    return target
