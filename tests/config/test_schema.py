from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pocketquant.config import ModelConfig, catalog
from pocketquant.errors import ConfigError


def changed(path: str, value: object) -> str:
    """The demo config as YAML with the field at the dotted `path` set (None: removed)."""
    data: dict[str, Any] = catalog.language("demo").model_dump(mode="json", exclude_none=True)
    *sections, field = path.split(".")
    section = data
    for name in sections:
        section = section[name]
    if value is None:
        del section[field]
    else:
        section[field] = value
    return yaml.safe_dump(data)


@pytest.mark.parametrize("name", [*catalog.languages(), catalog.DEMO])
def test_yaml_round_trip_is_exact(name: str) -> None:
    config = catalog.language(name)
    assert ModelConfig.from_yaml(config.to_yaml()) == config


def test_to_yaml_writes_defaults_out() -> None:
    data = yaml.safe_load(catalog.language("english").to_yaml())
    assert data["default_temperature"] == 0.3
    assert data["default_eos_threshold"] == -4.0
    assert data["mimi"]["transformer"]["max_period"] == 10000.0
    assert "z_dim" not in data["flow_lm"]


@given(st.dictionaries(st.characters(codec="utf-8"), st.text(st.characters(codec="utf-8")), max_size=5))
def test_any_replacement_survives_the_round_trip(table: dict[str, str]) -> None:
    config = catalog.language("demo").model_copy(update={"replace_characters": table})
    assert ModelConfig.from_yaml(config.to_yaml()).replace_characters == table


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("flow_lm.dtype", None, "m.yaml: the field flow_lm.dtype is missing"),
        ("flow_lm.flow.depht", 3, "unknown field flow_lm.flow.depht; did you mean depth?"),
        ("mimi.decoder_seanet.ratio", [6], "did you mean ratios?"),
        ("wieghts_path", "x", "unknown field wieghts_path; did you mean weights_path"),
        ("flow_lm.flow.depth", "many", "flow_lm.flow.depth: input should be a valid integer"),
        ("flow_lm.flow.depth", 10**9, "flow_lm.flow.depth: input should be less"),
        ("flow_lm.flow.dim", 0, "flow_lm.flow.dim: input should be greater than 0"),
        ("flow_lm.flow.type", "magic", "'lsd', 'flow_matching', 'drifting' or 'pointwise'"),
        ("flow_lm.transformer.num_heads", 3, "num_heads 3 does not divide the attention width 160"),
        ("flow_lm.transformer.num_kv_heads", 3, "num_kv_heads 3 does not divide num_heads 4"),
        ("flow_lm.transformer.num_heads", 32, "head size 5 is odd"),
        ("flow_lm.lookup_table.dim", 10, "must equal transformer.d_model 160"),
        ("mimi.frame_rate", 12.7, "frame_rate 12.7 must divide the rate 200"),
        ("mimi.decoder_seanet.ratios", [6, 5], "decoder_seanet.ratios give 30 samples a frame"),
        ("mimi.outer_dim", 100, "outer_dim 100 is no multiple"),
        ("mimi.frame_rate", float("nan"), "finite number"),
        ("replace_characters", {"ab": "c"}, "'ab' is not one character"),
        ("weights_path", " ", "weights_path: is empty"),
    ],
)
def test_a_wrong_field_gives_one_line(path: str, value: object, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ModelConfig.from_yaml(changed(path, value), "m.yaml")
    message = str(caught.value)
    assert words in message
    assert message.startswith("m.yaml: ")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "found an empty file"),
        ("- 1", "found a list"),
        ("a: 1\nb: ]", "m.yaml, line 2: not valid YAML"),
        ("a: 1\nb: {", "not valid YAML"),
        ("x: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        (b"\xff\xfe\x00", "not a text file"),
        ("[" * 100_000, "nested deeper than 20"),
        ("{1: 2}", "the field flow_lm is missing"),
    ],
)
def test_what_is_no_config_gives_one_line(text: str | bytes, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ModelConfig.from_yaml(text, "m.yaml")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_yaml_aliases_cannot_blow_up_the_message() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9))
    with pytest.raises(ConfigError) as caught:
        ModelConfig.from_yaml(bomb + "flow_lm: *a8\nmimi: *a8")
    assert len(str(caught.value)) < 200


def test_missing_file(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        ModelConfig.from_file(tmp_path / "no.yaml")


def test_derived_sizes() -> None:
    english, small = catalog.language("english"), catalog.language("english_2m_2026-10")
    assert (english.flow_lm.transformer.head_dim, english.flow_lm.transformer.qkv_dim) == (64, 3072)
    assert english.flow_lm.transformer.feedforward_dim == 4096
    assert english.flow_lm.flow.num_time_conditions == 2
    assert (english.frame_size, english.latent_dim, english.mimi.resample_stride) == (1920, 32, 16)
    assert english.mimi.decoder_side_seanet is english.mimi.seanet
    assert english.flow_lm.condition_dim == 1024
    transformer = small.flow_lm.transformer
    assert (transformer.head_dim, transformer.kv_dim, transformer.qkv_dim) == (64, 64, 320)
    assert transformer.feedforward_dim == 96
    assert small.flow_lm.flow.num_time_conditions == 0
    assert small.flow_lm.lookup_table.embedding_dim == 32
    assert small.flow_lm.lookup_table.tokenizer_kind == "sentencepiece"
    assert small.mimi.decoder_side_seanet.n_filters == 24
    assert small.flow_lm.condition_dim == 64


def test_with_paths_leaves_one_file_of_weights() -> None:
    moved = catalog.language("english").with_paths(weights="w.safetensors", tokenizer="t.json")
    assert moved.weights_path == "w.safetensors"
    assert moved.weights_path_without_voice_cloning is None
    assert moved.flow_lm.lookup_table.tokenizer_path == "t.json"
    assert moved.flow_lm.transformer == catalog.language("english").flow_lm.transformer
