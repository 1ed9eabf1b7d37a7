from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pytest
from report_example import example_report

from pocketquant.errors import PocketQuantError
from pocketquant.quantize.metrics import Distortion
from pocketquant.report import TensorRow, write_report
from pocketquant.report.tables import CSV_COLUMNS, csv_report, json_report
from pocketquant.report.writer import check_report_path


def reject_constant(word: str) -> float:
    raise AssertionError(f"{word} is no JSON")


def test_json_is_standard_and_complete() -> None:
    report = example_report()
    data = json.loads(json_report(report), parse_constant=reject_constant)
    assert (data["format"], data["format_version"], data["pocketquant"]) == ("pocketquant-report", 1, "1.2.3")
    assert data["rules"] == [
        {"pattern": "*.linear?.weight", "scheme": "int4-g64"},
        {"pattern": "*", "scheme": "f16"},
    ]
    assert data["totals"]["bytes_after"] == report.totals.bytes_after
    assert [tensor["name"] for tensor in data["tensors"]] == [row.name for row in report.rows]
    exact, lossy, _, silent = data["tensors"]
    assert exact["snr_db"] == "inf"
    assert silent["snr_db"] == "-inf"
    assert float(exact["snr_db"]) == math.inf
    assert lossy["snr_db"] == pytest.approx(20.0)
    assert (lossy["layer"], exact["layer"], lossy["shape"]) == (0, None, [8, 64])
    assert sum(lossy["histogram"]["counts"]) == 512


def test_json_carries_not_a_number_as_a_string() -> None:
    broken = TensorRow("x", (1,), "f32", 4, 4, Distortion(math.nan, math.nan, math.nan, 1))
    data = json.loads(json_report(example_report(extra=(broken,))), parse_constant=reject_constant)
    assert data["tensors"][-1]["snr_db"] == "nan"


def test_csv_has_a_line_for_each_tensor() -> None:
    report = example_report()
    lines = list(csv.DictReader(io.StringIO(csv_report(report))))
    assert tuple(lines[0]) == CSV_COLUMNS
    assert [line["name"] for line in lines] == [row.name for row in report.rows]
    assert lines[1]["shape"] == "8x64"
    assert float(lines[1]["snr_db"]) == pytest.approx(20.0)
    assert float(lines[0]["snr_db"]) == math.inf


@pytest.mark.parametrize("suffix", [".html", ".json", ".csv", ".HTML"])
def test_the_suffix_chooses_the_form(tmp_path: Path, suffix: str) -> None:
    path = write_report(example_report(), tmp_path / f"report{suffix}")
    start = path.read_text(encoding="utf-8")[:16]
    assert start.startswith({".html": "<!doctype html>", ".json": "{", ".csv": "name,part,"}[suffix.lower()])
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["report.pdf", "report", "html"])
def test_an_unknown_suffix_is_refused_with_the_known_ones(tmp_path: Path, name: str) -> None:
    with pytest.raises(PocketQuantError, match=r"\.html, \.json, \.csv"):
        write_report(example_report(), tmp_path / name)
    with pytest.raises(PocketQuantError):
        check_report_path(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(PocketQuantError, match="space"):
        write_report(example_report(), path)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(PocketQuantError, match="nowhere"):
        write_report(example_report(), tmp_path / "nowhere" / "report.html")
