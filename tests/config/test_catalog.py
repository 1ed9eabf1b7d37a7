from __future__ import annotations

import pytest

from pocketquant.config import catalog
from pocketquant.errors import ConfigError, VoiceError


def test_27_languages_and_27_voices() -> None:
    assert len(catalog.languages()) == len(set(catalog.languages())) == 27
    assert len(catalog.voices()) == 27


@pytest.mark.parametrize("name", catalog.languages())
def test_every_language_names_pinned_files(name: str) -> None:
    config = catalog.language(name)
    for uri in (
        config.weights_path,
        config.weights_path_without_voice_cloning,
        config.flow_lm.lookup_table.tokenizer_path,
        catalog.get_predefined_voice(name, "alba"),
    ):
        assert uri is not None
        assert uri.startswith("hf://kyutai/")
        assert len(uri.rpartition("@")[2]) == 40
    assert f"/languages/{name}/" in str(config.weights_path)


def test_sizes_that_tell_the_models_apart() -> None:
    assert catalog.language("french_24l").flow_lm.transformer.num_layers == 24
    assert catalog.language("french").flow_lm.transformer.num_layers == 6
    assert catalog.language("english_2026-01").mimi.inner_dim == 512
    assert catalog.language("english_drifting_26-09").flow_lm.flow.type == "drifting"
    assert catalog.language("english_2m_refl_2026-10").flow_lm.flow.type == "pointwise"
    assert catalog.language("spanish").replace_characters["¿"] == ""


def test_unknown_language_names_near_misses() -> None:
    with pytest.raises(ConfigError, match=r"'germn'; did you mean german"):
        catalog.language("germn")
    with pytest.raises(ConfigError, match=r"known: .*dutch_24l, demo"):
        catalog.language("klingon-xyz")


def test_voices() -> None:
    with pytest.raises(VoiceError, match="did you mean alba"):
        catalog.get_predefined_voice("english", "albba")
    with pytest.raises(ConfigError, match="did you mean english"):
        catalog.get_predefined_voice("englsh", "alba")
    with pytest.raises(VoiceError, match="known: heart"):
        catalog.get_predefined_voice("demo", "alba")
    assert catalog.get_predefined_voice("demo", "heart").endswith("heart.safetensors")


@pytest.mark.parametrize(
    ("language", "voice"),
    [
        ("italian_24l", "giovanni"),
        ("french", "estelle"),
        ("english_2026-09", "alba"),
        (None, "alba"),
        ("demo", "heart"),
    ],
)
def test_default_voice(language: str | None, voice: str) -> None:
    assert catalog.default_voice(language) == voice


def test_custom_weights_get_a_recording_as_default_voice() -> None:
    assert catalog.default_voice("italian", custom=True) == catalog.voices()["alba"]


def test_default_text_is_in_the_language() -> None:
    texts = {catalog.default_text(name) for name in ("english", "french_24l", "german", "dutch", "demo")}
    assert len(texts) == 5
    assert catalog.default_text(None) == catalog.default_text("english_2m_2026-10")


def test_the_demo_is_complete() -> None:
    names = {path.name for path in catalog.demo_folder().iterdir()}
    assert names >= {"demo.yaml", "demo.safetensors", "tokenizer.model", "heart.safetensors", "NOTICE.md"}
    assert sum(path.stat().st_size for path in catalog.demo_folder().iterdir()) < 12e6
