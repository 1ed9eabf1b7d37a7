"""The official model and ours with the same seeded random weights, stage by stage.

    for row in rows(): ...          one per official config: the largest difference of every stage

Both share the arrays, so a 24-layer model takes 1.3 GB, once. Nothing is downloaded: the tokenizer is a list
of 4000 words written here. Prompts are prepared audio, so that `end_on_pause` plays no part.
"""

from __future__ import annotations

import gc
import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pocket_tts.models.model_state import export_model_state
from pocket_tts.models.tts_model import TTSModel, build_mimi, init_states, stamp_state_names
from pocket_tts.modules.stateful_module import increment_steps
from pocket_tts.utils.config import CONFIGS_DIR, Config, load_config

from pocketquant.checkpoint.voice import VoiceState, read_voice
from pocketquant.config.schema import ModelConfig
from pocketquant.model.conv import Stream
from pocketquant.model.generate import Sampling, SpeechModel
from pocketquant.ops.interface import Ops
from pocketquant.ops.reference import ReferenceOps
from random_model import random_arrays, stored

F32 = NDArray[np.float32]
NAMES = sorted(path.stem for path in CONFIGS_DIR.glob("*.yaml"))
FRAMES = 8
WORDS = [f"w{i}" for i in range(4000)]
TEXT = " ".join(WORDS[i] for i in (17, 3999, 4, 250, 1023, 88, 3000, 2, 2, 711))
EOS_NEVER = float("inf")


def official_config(name: str) -> Config:
    """The config as the official package reads it."""
    return load_config(str(CONFIGS_DIR / f"{name}.yaml"))


def write_tokenizer(folder: Path, pieces: int) -> Path:
    """A tokenizer of the first words in the `tokenizers` format."""
    path = folder / "tokenizer.json"
    model = {
        "type": "WordLevel",
        "vocab": {word: i for i, word in enumerate(WORDS[:pieces])},
        "unk_token": "w0",
    }
    whole: dict[str, Any] = {"version": "1.0", "pre_tokenizer": {"type": "Whitespace"}, "model": model}
    whole |= dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder"))
    path.write_text(json.dumps({**whole, "added_tokens": []}))
    return path


def build_official(config: Config, arrays: dict[str, F32], folder: Path) -> TTSModel:
    """The official model over the given arrays (not copies), temperature 0."""
    table = config.flow_lm.lookup_table
    table.tokenizer, table.tokenizer_path = "tokenizers", str(write_tokenizer(folder, table.n_bins))
    with torch.device("meta"):
        model = TTSModel._from_pydantic_config(config, 0.0, 1, None, EOS_NEVER, None)
        shape = (config.flow_lm.transformer.d_model, config.mimi.inner_dim or config.mimi.seanet.dimension)
        model.flow_lm.speaker_proj_weight = torch.nn.Parameter(torch.zeros(shape))
        model.mimi = build_mimi(config.mimi)
    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    model.load_state_dict(state, strict=True, assign=True)
    stamp_state_names(model)
    model.max_decoder_frames_per_call = 1
    return model.eval().requires_grad_(False)


def tensor(x: F32) -> torch.Tensor:
    """`[T, channels]` as `[1, T, channels]`."""
    return torch.from_numpy(np.ascontiguousarray(x))[None]


def array(x: torch.Tensor) -> F32:
    """`[1, T, channels]` as `[T, channels]`."""
    return np.ascontiguousarray(x.detach()[0].numpy())


def apart(ours: F32, theirs: F32) -> float:
    """The largest difference, relative to the largest value of theirs."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@dataclass
class Pair:
    """One config, twice."""

    name: str
    config: ModelConfig
    official: TTSModel
    ours: SpeechModel
    rng: np.random.Generator

    @classmethod
    def build(cls, name: str, folder: Path, ops: Ops | None = None) -> Pair:
        """Both models with the weights of a seed that the name gives."""
        official = official_config(name)
        config = ModelConfig.from_dict(official.model_dump(), name)
        seed = NAMES.index(name)
        arrays = random_arrays(config, seed)
        ours = SpeechModel(config, {k: stored(v) for k, v in arrays.items()}, ops or ReferenceOps())
        return cls(name, config, build_official(official, arrays, folder), ours, np.random.default_rng(seed))

    def normal(self, *shape: int) -> F32:
        return self.rng.standard_normal(shape, dtype=np.float32)

    def recording(self, seconds: float) -> F32:
        """Noise with a slow swell: mono samples."""
        t = np.arange(int(seconds * self.config.sample_rate), dtype=np.float32)
        swell = np.sin(t * np.float32(2 * np.pi * 3 / self.config.sample_rate))
        sound: F32 = (self.normal(len(t)) * swell * np.float32(0.2)).astype(np.float32)
        return sound

    def tokens(self) -> NDArray[np.int64]:
        ids: NDArray[np.int64] = self.official.flow_lm.conditioner.prepare(TEXT)[0].numpy()
        return ids


Stage = Callable[[Pair], float]


def embedding(pair: Pair) -> float:
    """Token ids to rows of the transformer."""
    tokens = pair.tokens()
    theirs = pair.official.flow_lm.conditioner(torch.from_numpy(tokens)[None])
    return apart(pair.ours.flow_lm.embed_text(tokens), array(theirs))


def lm_layers(pair: Pair) -> float:
    """Each layer alone, over a prompt, a second prompt and two single steps; then norm and projection."""
    lm, ours = pair.official.flow_lm, pair.ours.flow_lm
    state = init_states(lm, batch_size=1, sequence_length=64)
    caches = ours.new_caches(64)
    worst = 0.0
    for rows in (14, 10, 1, 1):
        x = pair.normal(rows, ours.dim)
        for layer, mine, cache in zip(lm.transformer.layers, ours.transformer.layers, caches, strict=True):
            theirs = array(layer(tensor(x), state))
            worst = max(worst, apart(mine(x, cache), theirs))
            x = theirs
        increment_steps(lm, state, rows)
        z = lm.out_norm(tensor(x))
        worst = max(worst, apart(ours.condition(x), array(z if lm.z_proj is None else lm.z_proj(z))))
    return worst


def head(pair: Pair) -> float:
    """The flow head from noise, in 1 and in 4 steps."""
    from pocket_tts.models import flow_lm as official

    decode = {
        "lsd": official.lsd_decode,
        "flow_matching": official.ot_decode,
        "drifting": official.drifting_decode,
        "pointwise": official.pointwise_decode,
    }[pair.config.flow_lm.flow.type]
    net, ours = pair.official.flow_lm.flow_net, pair.ours.flow_lm.flow_net
    worst = 0.0
    for steps in (1, 4):
        z, noise = pair.normal(1, pair.ours.flow_lm.condition_dim), pair.normal(1, pair.config.latent_dim)
        theirs = decode(lambda *a: net(torch.from_numpy(z), *a), torch.from_numpy(noise), steps)  # noqa: B023
        worst = max(worst, apart(ours.sample(z, noise, ours.schedule(steps)), theirs.numpy()))
    return worst


def encoder(pair: Pair) -> float:
    """Each block of the encoder alone, its transformer (longer than its context), the whole."""
    mimi, ours = pair.official.mimi, pair.ours.encoder
    x = pair.recording(1.5)
    audio = torch.nn.functional.pad(torch.from_numpy(x), (0, -len(x) % mimi.frame_size))[None, None]
    worst, h = 0.0, audio
    for layer, mine in zip(mimi.encoder.model, ours.seanet.layers, strict=True):
        y = layer(h) if isinstance(layer, torch.nn.ELU) else layer(h, None)
        worst = max(worst, apart(mine(array(h.transpose(1, 2)), {}), array(y.transpose(1, 2))))
        h = y
    (y,) = mimi.encoder_transformer(h, None)
    caches = ours.transformer.transformer.new_caches(h.shape[-1])
    worst = max(worst, apart(ours.transformer(array(h.transpose(1, 2)), caches), array(y.transpose(1, 2))))
    whole = array(mimi.encode_to_latent(torch.from_numpy(x)[None, None]))
    return max(worst, apart(ours.encode(x), whole))


def mimi_transformer(pair: Pair) -> float:
    """Projection, upsampling and transformer of the decoder, frame by frame past the context's end."""
    mimi, ours = pair.official.mimi, pair.ours.decoder
    frames = pair.config.mimi.decoder_side_transformer.context // 16 + 4
    state, mine = init_states(mimi, batch_size=1, sequence_length=16 * frames), ours.new_state()
    worst = 0.0
    for _ in range(frames):
        latent = pair.normal(1, pair.config.latent_dim)
        x = mimi.quantizer(tensor(latent).transpose(1, 2))
        up = mimi._to_encoder_framerate(x, state)
        (out,) = mimi.decoder_transformer(up, state)
        increment_steps(mimi, state, 16)
        h = ours.project(latent)
        worst = max(worst, apart(h, array(x.transpose(1, 2))))
        assert ours.upsample is not None
        h = ours.upsample(h, mine.stream)
        worst = max(worst, apart(h, array(up.transpose(1, 2))))
        worst = max(worst, apart(ours.transformer(h, mine.caches), array(out.transpose(1, 2))))
    return worst


def seanet_blocks(pair: Pair) -> float:
    """Each block of the decoder alone: theirs at once, ours over two frames."""
    mimi, ours = pair.official.mimi, pair.ours.decoder
    h = torch.from_numpy(pair.normal(1, pair.config.mimi.decoder_side_seanet.dimension, 32))
    state = init_states(mimi, batch_size=1, sequence_length=32)
    stream: Stream = {}
    worst = 0.0
    for layer, mine in zip(mimi.decoder.model, ours.seanet.layers, strict=True):
        y = layer(h) if isinstance(layer, torch.nn.ELU) else layer(h, state)
        halves = np.split(array(h.transpose(1, 2)), 2)
        worst = max(worst, apart(np.concatenate([mine(x, stream) for x in halves]), array(y.transpose(1, 2))))
        h = y
    return worst


@dataclass
class Spoken:
    """What the official model says with a cloned voice, and what our voice of it is."""

    audio: F32
    file: VoiceState
    voice: VoiceState
    recording: F32


def official_speech(pair: Pair, folder: Path) -> Spoken:
    """Clone a voice in both, export the official one, speak 8 frames of the official one."""
    model, recording = pair.official, pair.recording(1.0)
    conditioning = model._encode_audio(torch.from_numpy(recording)[None, None])
    if model.flow_lm.insert_bos_before_voice:
        conditioning = torch.cat([model.flow_lm.bos_before_voice, conditioning], dim=1)
    state = init_states(model.flow_lm, batch_size=1, sequence_length=conditioning.shape[1])
    model._run_flow_lm_and_increment_step(model_state=state, audio_conditioning=conditioning)
    export_model_state(state, folder / "voice.safetensors")
    file = read_voice(folder / "voice.safetensors")
    stop, frames = threading.Event(), []
    stream = model._generate_audio_stream_short_text(state, TEXT, FRAMES, True, stop)
    for frame in stream:
        frames.append(frame.numpy())
        if len(frames) == FRAMES:
            stop.set()
    voice = pair.ours.condition_on_voice(pair.ours.encode_voice(recording))
    return Spoken(np.concatenate(frames[:FRAMES]), file, voice, recording)


def our_speech(pair: Pair, voice: VoiceState) -> F32:
    """Our first 8 frames."""
    sampling = Sampling(temperature=0, eos_threshold=EOS_NEVER)
    stream = pair.ours.generate(voice, pair.tokens(), sampling)
    return np.concatenate([next(stream) for _ in range(FRAMES)])


def teacher_forced(pair: Pair, voice: VoiceState) -> tuple[float, float]:
    """Latents and EOS logits of 8 steps, each after the same given latent: (relative, absolute) differences."""
    model, ours = pair.official, pair.ours.flow_lm
    state = init_states(model.flow_lm, batch_size=1, sequence_length=voice.positions + 40)
    for layer, module in zip(voice.layers, (s for s in state.values() if "cache" in s), strict=True):
        module["cache"][:, 0, : voice.positions] = torch.from_numpy(layer)
        module["offset"][:] = voice.positions
    caches, tokens = ours.new_caches(voice.positions + 40, voice.layers), pair.tokens()
    model._run_flow_lm_and_increment_step(model_state=state, text_tokens=torch.from_numpy(tokens)[None])
    ours.prompt(ours.embed_text(tokens), caches)
    logits: list[float] = []
    hook = model.flow_lm.out_eos.register_forward_hook(lambda _m, _i, out: logits.append(float(out)))
    schedule, noise = ours.flow_net.schedule(1), np.zeros((1, ours.latent_dim), np.float32)
    given = np.concatenate([np.full((1, ours.latent_dim), np.nan), pair.normal(FRAMES - 1, ours.latent_dim)])
    theirs, mine, eos = [], [], []
    for latent in given.astype(np.float32)[:, None]:
        out, _ = model._run_flow_lm_and_increment_step(
            model_state=state, backbone_input_latents=tensor(latent)
        )
        theirs.append(array(out))
        next_latent, logit = ours.step(latent, caches, noise, schedule)
        mine.append(next_latent)
        eos.append(logit)
    hook.remove()
    return apart(np.concatenate(mine), np.concatenate(theirs)), float(np.abs(np.subtract(eos, logits)).max())


STAGES: dict[str, Stage] = {
    "embedding": embedding,
    "LM layers": lm_layers,
    "head": head,
    "encoder": encoder,
    "Mimi transformer": mimi_transformer,
    "SEANet blocks": seanet_blocks,
}
LIMITS = {
    **dict.fromkeys(STAGES, 2e-5),
    "teacher-forced": 1e-4,
    "EOS logit": 1e-3,
    "cloned, 8 frames": 1e-3,
    "voice file, 8 frames": 1e-3,
}
"""Largest difference allowed: relative to the peak; of the EOS logit, absolute."""


def compare(name: str, ops: Ops | None = None) -> dict[str, float]:
    """All differences for one config, by the names of `LIMITS`."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        pair = Pair.build(name, Path(folder), ops)
        row = {stage: difference(pair) for stage, difference in STAGES.items()}
        spoken = official_speech(pair, Path(folder))
        row["teacher-forced"], row["EOS logit"] = teacher_forced(pair, spoken.file)
        row["cloned, 8 frames"] = apart(our_speech(pair, spoken.voice), spoken.audio)
        row["voice file, 8 frames"] = apart(our_speech(pair, spoken.file), spoken.audio)
    del pair
    gc.collect()
    return row


def rows(ops: Ops | None = None) -> Iterator[tuple[str, dict[str, float]]]:
    """The table: every official config, one after the other."""
    for name in NAMES:
        yield name, compare(name, ops)


def table(measured: dict[str, dict[str, float]]) -> str:
    """The rows as text, with the limits and the maxima."""
    lines = {
        **measured,
        "largest": {s: max(r[s] for r in measured.values()) for s in LIMITS},
        "limit": LIMITS,
    }
    width = max(map(len, lines))
    head_line = " " * width + "".join(f"{stage:>22}" for stage in LIMITS)
    return "\n".join(
        [head_line, *(f"{n:{width}}" + "".join(f"{r[s]:22.1e}" for s in LIMITS) for n, r in lines.items())]
    )
