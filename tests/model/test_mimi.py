"""The codec: streaming, the end of a recording, quantized weights."""

from __future__ import annotations

import numpy as np
import pytest

from pocketquant.errors import AudioError, ConfigError
from pocketquant.model.layers import Layers
from pocketquant.model.mimi import MimiDecoder, MimiEncoder
from pocketquant.ops.interface import F32
from pocketquant.ops.reference import ReferenceOps
from pocketquant.quantize.stored import StoredTensor
from random_model import random_arrays, stored
from tiny_models import SEED, TINY

NAMES = sorted(TINY)


def layers(name: str, scheme: str = "f32") -> Layers:
    """The codec with its matrices in a scheme."""
    weights: dict[str, StoredTensor] = {
        key: stored(array, scheme if key.endswith("weight") and array.ndim > 1 else "f32")
        for key, array in random_arrays(TINY[name], SEED).items()
        if key.startswith("mimi.")
    }
    return Layers(weights, ReferenceOps(), "mimi.")


def latents(name: str, frames: int) -> F32:
    return np.random.default_rng(8).standard_normal((frames, TINY[name].latent_dim), dtype=np.float32)


@pytest.mark.parametrize("scheme", ["f32", "f16", "int8", "int8-tensor", "int4-g32"])
@pytest.mark.parametrize("name", NAMES)
def test_chunks_equal_the_whole_bit_for_bit(name: str, scheme: str) -> None:
    decoder, x = MimiDecoder(TINY[name].mimi, layers(name, scheme)), latents(name, 9)
    whole = decoder.decode(x, decoder.new_state())
    assert whole.shape == (9 * 96,)
    state = decoder.new_state()
    chunks = np.concatenate([decoder.decode(part, state) for part in np.split(x, [1, 3, 3, 8])])
    np.testing.assert_array_equal(chunks, whole)


@pytest.mark.parametrize(
    ("scheme", "decibels"), [("f16", 60), ("int8", 30), ("int8-tensor", 25), ("int4-g32", 8)]
)
def test_quantized_decoders_stay_close(scheme: str, decibels: float) -> None:
    x = latents("lsd", 6)
    plain, quantized = (MimiDecoder(TINY["lsd"].mimi, layers("lsd", s)) for s in ("f32", scheme))
    a, b = plain.decode(x, plain.new_state()), quantized.decode(x, quantized.new_state())
    assert 10 * np.log10(np.square(a).sum() / np.square(a - b).sum()) > decibels


def test_two_utterances_do_not_disturb_each_other() -> None:
    decoder = MimiDecoder(TINY["lsd"].mimi, layers("lsd"))
    x, y = latents("lsd", 4), latents("lsd", 4)[::-1]
    alone = decoder.decode(x, decoder.new_state())
    one, two = decoder.new_state(), decoder.new_state()
    together = []
    for t in range(4):
        together.append(decoder.decode(x[t : t + 1], one))
        decoder.decode(y[t : t + 1], two)
    np.testing.assert_array_equal(np.concatenate(together), alone)


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_is_filled_up_with_silence(name: str) -> None:
    encoder = MimiEncoder(TINY[name].mimi, layers(name))
    audio = np.random.default_rng(1).standard_normal(250, dtype=np.float32)
    encoded = encoder.encode(audio)
    assert encoded.shape == (3, TINY[name].mimi.encoded_dim)
    np.testing.assert_array_equal(encoder.encode(np.pad(audio, (0, 38))), encoded)
    assert encoder.encode(audio[:1]).shape[0] == 1


@pytest.mark.parametrize("shape", [(0,), (1, 100)])
def test_what_is_no_recording_is_refused(shape: tuple[int, ...]) -> None:
    encoder = MimiEncoder(TINY["lsd"].mimi, layers("lsd"))
    with pytest.raises(AudioError, match="mono samples"):
        encoder.encode(np.zeros(shape, np.float32))


def test_more_than_one_channel_is_refused() -> None:
    mimi = TINY["lsd"].mimi
    stereo = mimi.model_copy(update={"seanet": mimi.seanet.model_copy(update={"channels": 2})})
    with pytest.raises(ConfigError, match="only mono"):
        MimiDecoder(stereo, layers("lsd"))
