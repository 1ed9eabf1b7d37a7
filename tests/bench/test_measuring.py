"""The benchmark measures what it says: the structure and sense of its figures, never their size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pocketquant.bench import machine, stages
from pocketquant.bench.machine import Neighbours, pick_cpus, quiet_text, usable_cpus
from pocketquant.bench.material import AS_STORED, Material, material, text_of
from pocketquant.bench.run import OUR_CHILD, Plan, Spread, figures, job, measure_model, spawn
from pocketquant.bench.work import Job, peak_rss
from pocketquant.config import catalog
from pocketquant.errors import PocketQuantError, RecipeError
from pocketquant.model.text import TextRules, prepare
from pocketquant.pipeline import quantize_checkpoint

SECONDS = 3.0


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("bench")
    with material("demo", ["f32", "int8"], seconds=SECONDS, voice_positions=20, folder=folder) as made:
        yield made


@pytest.fixture(scope="module")
def result(demo: Material) -> dict[str, Any]:
    done: list[str] = []
    plan = Plan(threads=(1,), repeat=2, batch=(2,))
    found = measure_model(demo, plan, done.append)
    assert len(done) == plan.children(recipes=2)
    return found


def test_result_has_a_row_for_each_recipe(result: dict[str, Any]) -> None:
    assert [(row["recipe"], row["threads"]) for row in result["results"]] == [("f32", 1), ("int8", 1)]
    for row in result["results"]:
        assert len(row["runs"]) == 2
        for name in figures(row["runs"][0]):
            assert 0 < row[name]["low"] <= row[name]["median"] <= row[name]["high"], name
        assert row["start_ms"]["low"] >= row["load_ms"]["low"]
        assert row["peak_rss_mb"]["low"] > 10


def test_all_speak_for_the_time_asked(result: dict[str, Any]) -> None:
    tokens = result["model"]["tokens"]
    for row in result["results"]:
        assert {run["audio_s"] for run in row["runs"]} == {row["audio_s"]}
        assert row["audio_s"] == pytest.approx(tokens / 3 + 2, abs=0.08)
        assert row["audio_s"] == pytest.approx(SECONDS, abs=0.75)


def test_stages_add_up(result: dict[str, Any]) -> None:
    assert result["stages"].keys() == {"f32", "int8"}
    for profile in result["stages"].values():
        by_name = {stage["stage"]: stage for stage in profile["stages"]}
        assert {"LM transformer", "flow head", "EOS", "Mimi transformer", "SEANet"} <= by_name.keys()
        for stage in by_name.values():
            assert stage["ms"] > 0
            assert all(calls >= 1 for _, calls in stage["ops"].values())
        assert by_name["LM transformer"]["ops"]["transformer_layer"][1] > 0
        total = sum(stage["ms"] for stage in by_name.values())
        # Medians of parts against the median of the whole: near, on any machine.
        assert total == pytest.approx(profile["lm_ms"] + profile["mimi_ms"], rel=0.5)


def test_batches_speak_the_same_text(result: dict[str, Any]) -> None:
    assert [(row["recipe"], row["batch"]) for row in result["batches"]] == [("f32", 2), ("int8", 2)]
    lengths = {run["audio_s"] for row in result["batches"] for run in row["runs"]}
    assert len(lengths) == 1
    assert lengths.pop() == pytest.approx(2 * result["results"][0]["audio_s"])


def test_machine_is_named(result: dict[str, Any]) -> None:
    assert result["machine"]["cpu"]
    assert result["machine"]["cpus"] >= 1
    share = result["others_share"]
    assert share is None or 0 <= share <= 1


def test_a_quantized_file_is_measured_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "demo-int4.safetensors"
    quantize_checkpoint("demo", path, "int4")
    with material(str(path), ["f32", "int8"], seconds=SECONDS, voice_positions=3) as made:
        assert list(made.loads) == [AS_STORED]
        assert made.bytes[AS_STORED] == path.stat().st_size
        assert spawn(job(made, AS_STORED, 1))["audio_s"] > 2


def test_files_in_a_folder_are_made_once(demo: Material) -> None:
    folder = demo.voice.parent
    stamp = (folder / "demo-int8.safetensors").stat().st_mtime_ns
    with material("demo", ["int8"], seconds=SECONDS, voice_positions=20, folder=folder) as again:
        assert again.text == demo.text
    assert (folder / "demo-int8.safetensors").stat().st_mtime_ns == stamp


def test_unknown_recipe() -> None:
    with pytest.raises(RecipeError, match="did you mean int8"):
        with material("demo", ["int9"], seconds=3, voice_positions=3):
            pass


def test_a_failing_child_says_why(demo: Material) -> None:
    broken = Job({"weights": "nowhere.safetensors"}, str(demo.voice), demo.text, demo.sentence)
    with pytest.raises(PocketQuantError, match=r"nowhere\.safetensors"):
        spawn(broken, OUR_CHILD)


class _Words:
    """A tokenizer with one token per word."""

    size = 100

    def encode(self, text: str) -> list[int]:
        return list(range(len(text.split())))

    def decode(self, tokens: Sequence[int]) -> str:
        return ""

    def is_byte(self, token: int) -> bool:
        return False


@pytest.mark.parametrize("tokens", [1, 2, 18, 49])
def test_texts_have_the_length_asked_for(tokens: int) -> None:
    rules = TextRules.of(catalog.language("english_2026-10"))
    text = text_of(tokens, _Words(), rules)
    assert len(prepare(text, rules).text.split()) == tokens


def test_spread() -> None:
    assert Spread.of([3, 1, 2]) == Spread(2, 1, 3)


def test_figures_are_in_their_units() -> None:
    run = {
        "audio_s": 8.0, "total_s": 2.0, "after_first_audio_s": 7.5, "after_first_s": 1.5, "cpu_s": 4.0,
        "first_audio_s": [0.03, 0.05, 0.04], "first_audio_cold_s": 0.1, "load_s": 0.2, "voice_s": 0.05,
        "start_s": 0.7, "peak_rss": 200_000_000,
    }  # fmt: skip
    assert figures(run) == pytest.approx(
        {
            "x_real_time": 4, "x_real_time_after_first": 5, "first_audio_ms": 40, "first_audio_cold_ms": 100,
            "load_ms": 250, "start_ms": 700, "cpu_ms_per_s": 500, "peak_rss_mb": 200,
        }
    )  # fmt: skip


def test_neighbours_do_not_include_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([(10.0, 100.0), (13.0, 130.0)])
    monkeypatch.setattr(Neighbours, "_now", staticmethod(lambda: next(moments)))
    assert Neighbours().share() == pytest.approx(0.1)


def test_quiet_text() -> None:
    assert quiet_text(0.01, 0.25) == "quiet (others took 1% of it; load 0.2 before)"
    assert quiet_text(0.5, None) == "NOT quiet (others took 50% of it)"
    assert quiet_text(None, 1.5) == "load 1.5 before"


def test_one_processor_per_core_first(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = {0: [0, 2], 1: [1, 3], 2: [0, 2], 3: [1, 3]}
    monkeypatch.setattr(machine, "usable_cpus", lambda: [0, 1, 2, 3])
    monkeypatch.setattr(machine, "_siblings", pairs.__getitem__)
    assert pick_cpus(1) == [0]
    assert pick_cpus(2) == [0, 1]
    assert pick_cpus(3) == [0, 1, 2]
    assert len(pick_cpus(9)) == 4


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity on this system")
def test_a_child_keeps_to_its_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.sched_getaffinity(0)
    one = usable_cpus()[:1]
    monkeypatch.setattr("sys.argv", ["child", Job({}, "", "", "", cpus=one).to_json()])
    try:
        assert Job.from_argument().cpus == one
        assert usable_cpus() == one
    finally:
        os.sched_setaffinity(0, before)


def test_peak_rss_counts_what_is_touched() -> None:
    before = peak_rss()
    block = bytearray(os.urandom(1 << 20) * 64)
    assert peak_rss() >= before
    assert peak_rss() >= len(block)


def test_recorder_keeps_operations_with_their_stage() -> None:
    recorder = stages.Recorder(clock_cost=(0.0001, 0.0005))
    op, stage = recorder._op("linear"), recorder._stage("SEANet")
    op(0.5)  # outside of all stages
    recorder.end_frame()
    for _ in range(2):
        op(0.001)
        op(0.002)
        stage(0.004)
        assert recorder.clocks() == pytest.approx(3 * 0.0005)
        recorder.end_frame()
    recorder.frames, recorder.counts = recorder.frames[1:], recorder.counts[1:]
    assert recorder.table() == [
        # Two timed calls inside cost 0.5 ms each, and 0.1 ms of that lies between the two looks at the clock.
        {"stage": "SEANet", "ms": 2.9, "between_ops_ms": 0.1, "ops": {"linear": [2.8, 2]}}
    ]
