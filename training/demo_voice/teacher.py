"""The teacher: `hibari-tts` with its durations, pitch and spectral envelopes laid open."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hibari
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from .vocoder import HOPS, Array, lock_pitch, mel_bands, synthesize

PARTS = 8  # feature frames of a latent frame: 10 ms each
HARMONIC_MEL = mel_bands(32, 100, 10000)
NOISE_MEL = mel_bands(20, 300, 12000)
FEATURES = PARTS * (len(HARMONIC_MEL) + len(NOISE_MEL))
FLOOR, CEILING = -4.0, 7.0  # of log magnitudes
PHONES, PHONE_IDS = 4, 180  # phoneme labels of a latent frame, and how many phonemes there are
TAIL = 4  # silent latent frames after the speech, so that its end can be learnt
LEAD = 4  # teacher frames kept before the first sound
MARKS = '.,?!;:…—"“”()'


def checked_words() -> set[str]:
    """The words whose pronunciation it has from the part of its lexicon that people checked."""
    asset = Path(hibari.__file__).parent / "assets" / "lexicon_us_gold.json.gz"
    return set(json.loads(gzip.decompress(asset.read_bytes())))


@dataclass(frozen=True)
class Utterance:
    """One spoken sentence of T latent frames."""

    text: str
    audio: NDArray[np.int16]  # [T * 1920]
    features: NDArray[np.float16]  # [T, FEATURES] log band levels
    pitch: NDArray[np.float16]  # [T, 3], see vocoder.lock_pitch
    position: NDArray[np.float16]  # [T] character of the text that is spoken
    phones: NDArray[np.uint8]  # [T, PHONES] phoneme numbers
    aligned: bool  # whether `position` can be trusted

    @property
    def frames(self) -> int:
        return len(self.pitch)


class Teacher:
    """Speaks sentences on one thread; the same sentence always sounds the same."""

    def __init__(self) -> None:
        self.tts = hibari.Hibari()
        graph = onnx.load(self.tts.model_path)
        # The graph sums durations up but does not return them.
        durations = next(node for node in graph.graph.node if node.op_type == "CumSum").input[0]
        graph.graph.output.append(onnx.helper.make_tensor_value_info(durations, onnx.TensorProto.INT64, None))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def speak(self, text: str) -> Utterance | None:
        """None where the teacher would cut the text into several pieces."""
        chunks = self.tts.phonemize(text)
        if len(chunks) != 1:
            return None
        ids = self.tts.ids(chunks[0])
        inputs = {"ids": np.asarray([ids], np.int64), "speed": np.ones(1, np.float32)}
        log_harmonic, _, log_left, log_right, _, f0, durations = self.session.run(None, inputs)
        f0, ends = f0[0], np.cumsum(durations.ravel()) * 2  # ends of phonemes in teacher frames
        harmonic, noise = self._powers(log_harmonic[0].T, log_left[0].T, log_right[0].T, f0)
        energy = (harmonic.sum(1) + noise.sum(1)) / 3e4
        loud = np.flatnonzero(energy > 1e-3 * np.percentile(energy, 95))
        start = int(loud[0]) - LEAD
        frames = int(np.ceil((loud[-1] + 2 - start) / HOPS)) + TAIL
        hops = np.arange(start, start + int(np.ceil(frames * HOPS)))
        inside = ((hops >= 0) & (hops < min(len(f0), loud[-1] + 8))).astype(np.float32)
        hops = np.clip(hops, 0, len(f0) - 1)
        harmonic = harmonic[hops] * inside[:, None] + 1e-10
        noise = noise[hops] * inside[:, None] + 1e-10
        pitch = lock_pitch(f0[hops] * inside, harmonic.sum(1) / 3e4, frames)
        audio = np.round(synthesize(harmonic, noise, pitch) * 32767).clip(-32768, 32767)
        position, aligned = self._align(text, chunks[0], ends - start, frames)
        return Utterance(
            text,
            audio.astype(np.int16),
            self._features(harmonic, noise, frames).astype(np.float16),
            pitch.astype(np.float16),
            position.astype(np.float16),
            self._phones(ids, ends - start, frames),
            aligned,
        )

    @staticmethod
    def _powers(log_harmonic: Array, log_left: Array, log_right: Array, f0: Array) -> tuple[Array, Array]:
        """Power envelopes of the harmonic branch and of both noise branches together, [teacher frames, bins]."""
        log_harmonic = np.where(f0[:, None] > 60, np.minimum(log_harmonic, CEILING), -12.0).astype(np.float32)
        noise = np.exp(2 * np.minimum(log_right, CEILING)) + 2 * np.exp(2 * np.minimum(log_left, CEILING))
        return np.exp(2 * log_harmonic), noise

    @staticmethod
    def _features(harmonic: Array, noise: Array, frames: int) -> Array:
        """Log band levels, interpolated to PARTS points of every latent frame."""
        bands = 0.5 * np.log(np.concatenate([harmonic @ HARMONIC_MEL.T, noise @ NOISE_MEL.T], 1))
        bands = np.clip(bands, FLOOR, CEILING)
        at = (np.arange(frames * PARTS) + 0.5) * (HOPS / PARTS)
        low = np.clip(np.floor(at).astype(int), 0, len(bands) - 1)
        high, share = np.minimum(low + 1, len(bands) - 1), (at - np.floor(at))[:, None]
        features: Array = (bands[low] * (1 - share) + bands[high] * share).reshape(frames, -1)
        return features

    @staticmethod
    def _phones(ids: list[int], ends: NDArray[Any], frames: int) -> NDArray[np.uint8]:
        """Phonemes at PHONES points of every latent frame; `ends` in teacher frames."""
        at = (np.arange(frames * PHONES) + 0.5) * (HOPS / PHONES)
        index = np.minimum(np.searchsorted(ends, at, side="right"), len(ids) - 1)
        return np.asarray(ids, np.uint8)[index].reshape(frames, PHONES)

    def _align(
        self, text: str, phonemes: str, ends: NDArray[Any], frames: int
    ) -> tuple[NDArray[np.float64], bool]:
        """Character of the text at the centre of every latent frame, and whether its words could be matched.

        Words and groups of phonemes correspond where there are as many; within a word time runs evenly. Figures
        are spoken as several words, so a text with figures counts as not matched."""
        kept = [c for c in phonemes if c in self.tts.vocab]
        groups, i = [], 0
        for group in "".join(kept).split(" "):
            if set(group) - set(MARKS):
                groups.append((i, i + len(group)))
            i += len(group) + 1
        words = [match.span() for match in re.finditer(r"\S+", text)]
        aligned = len(words) == len(groups) and not re.search(r"[0-9]", text)
        times, characters = [0.0], [0.0]
        for (c0, c1), (p0, p1) in zip(words, groups, strict=False) if aligned else ():
            spoken = next((i for i in range(p0, p1) if kept[i] in MARKS), p1)
            times += [ends[p0], ends[max(spoken, p0 + 1)]]
            characters += [c0, c0 + max(len(text[c0:c1].rstrip(MARKS)), 1)]
            if spoken < p1:  # the pause of a comma belongs to the comma
                times.append(ends[p1])
                characters.append(c1)
        times.append(max(ends[-2], times[-1] + 1e-3))
        characters.append(len(text))
        return np.interp((np.arange(frames) + 0.5) * HOPS, times, characters), aligned
