"""Writes tests/model/goldens/*.npz: what the official package makes of the tiny models.

    python tests/parity/make_goldens.py

Needs the official package (pocket-tts 4.0.1). The everyday tests recreate the weights from their seed,
compare with the files and need nothing.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "parity")]

from oracle import WORDS, array, build_official, tensor  # noqa: E402
from pocket_tts.models import flow_lm as official  # noqa: E402
from pocket_tts.modules.stateful_module import increment_steps, init_states  # noqa: E402
from pocket_tts.utils.config import Config  # noqa: E402

from pocketquant.config.schema import ModelConfig  # noqa: E402
from random_model import random_arrays  # noqa: E402
from tiny_models import SEED, TINY, inputs  # noqa: E402

FOLDER = TESTS / "model" / "goldens"
DECODE = {
    "lsd": official.lsd_decode,
    "flow_matching": official.ot_decode,
    "drifting": official.drifting_decode,
    "pointwise": official.pointwise_decode,
}


def golden(config: ModelConfig, folder: Path) -> dict[str, Any]:
    """All outputs of the official model, float32 `[T, channels]`."""
    arrays, given = random_arrays(config, SEED), inputs(config)
    model = build_official(Config(**config.model_dump()), arrays, folder)
    lm, mimi = model.flow_lm, model.mimi
    out: dict[str, Any] = {}

    encoded = mimi.encode_to_latent(torch.from_numpy(given.recording)[None, None])
    out["encoded"] = array(encoded)
    voice = torch.nn.functional.linear(encoded, lm.speaker_proj_weight)
    if lm.insert_bos_before_voice:
        voice = torch.cat([lm.bos_before_voice, voice], dim=1)
    state = init_states(lm, batch_size=1, sequence_length=voice.shape[1])
    model._run_flow_lm_and_increment_step(model_state=state, audio_conditioning=voice)
    out["voice"] = np.stack([s["cache"][:, 0].numpy() for s in state.values()])

    text = " ".join(WORDS[i] for i in given.tokens)
    stop, speech = threading.Event(), []
    for chunk in model._generate_audio_stream_short_text(state, text, 4, True, stop):
        speech.append(chunk.numpy())
        if len(speech) == 4:
            stop.set()
    out["speech"] = np.concatenate(speech[:4])

    model._expand_kv_cache(state, 40)
    tokens = torch.from_numpy(given.tokens)[None]
    out["text"] = array(lm.conditioner(tokens))
    model._run_flow_lm_and_increment_step(model_state=state, text_tokens=tokens)
    z = []
    for latent in given.latents:
        sequence = tensor(latent[None])
        rows = lm.input_linear(torch.where(torch.isnan(sequence), lm.bos_emb, sequence))
        z.append(lm.backbone(rows, torch.zeros(1, 0, lm.dim), sequence, state)[:, 0])
        increment_steps(lm, state, 1)
    out["z"] = torch.cat(z).numpy()
    out["eos"] = lm.out_eos(torch.cat(z)).numpy()[:, 0]
    for steps in (1, 4):
        samples = [
            DECODE[lm.flow_type](lambda *a, c=c: lm.flow_net(c, *a), torch.from_numpy(noise[None]), steps)
            for c, noise in zip(z, given.noise, strict=True)
        ]
        out[f"latents_{steps}"] = torch.cat(samples).numpy()

    mimi_state, sound = init_states(mimi, batch_size=1, sequence_length=64), []
    for latent in given.sound:
        sound.append(mimi.decode_from_latent(tensor(latent[None]), mimi_state)[0, 0].numpy())
        increment_steps(mimi, mimi_state, 16)
    out["sound"] = np.concatenate(sound)
    return out


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, config in TINY.items():
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            np.savez_compressed(FOLDER / f"{name}.npz", **golden(config, Path(folder)))


if __name__ == "__main__":
    main()
