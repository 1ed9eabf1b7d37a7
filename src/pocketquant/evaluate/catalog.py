"""The measures by name: what `--fail-if` knows, the table shows and the JSON holds.

A measure says which columns (numbers per sentence, collected by the rooms) it is made of, and how they sum up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pocketquant.evaluate.statistics import Estimate, Statistic, estimate

Columns = dict[str, list[float]]
"""Numbers per sentence, by column name."""


@dataclass(frozen=True)
class Measure:
    """One measure.

    Attributes:
        name: as in `--fail-if` and in the JSON.
        label: heading for people.
        unit: "dB", "%" (the value is a share 0..1), "x", "MB", "ms", "bits" or "".
        meaning: a sentence.
        statistic, columns: how it is made from numbers per sentence; no columns: it is one number per recipe.
        digits: after the point, as shown.
    """

    name: str
    label: str
    unit: str
    meaning: str
    statistic: Statistic = "mean"
    columns: tuple[str, ...] = ()
    digits: int = 1

    def text(self, value: float | None, *, unit: bool = True) -> str:
        """The value as people read it; "exact" for an infinite ratio, "-" where there is none."""
        if value is None or value != value:
            return "-"
        if value in (float("inf"), float("-inf")):
            return "exact" if value > 0 else "silent"
        rounded = round(100 * value if self.unit == "%" else value, self.digits) + 0.0  # no "-0.0"
        shown = f"{rounded:.{self.digits}f}"
        return f"{shown} {self.unit}" if unit and self.unit else shown


GROUPS: dict[str, tuple[Measure, ...]] = {
    "Weights": (
        Measure("weight_snr", "SNR of the weights", "dB", "signal-to-noise ratio of all weights"),
        Measure("weight_snr_worst", "worst tensor", "dB", "the lowest SNR of a tensor"),
        Measure("bits_per_weight", "bits a weight", "", "stored bits per weight, scales included", digits=2),
        Measure("weights_mb", "weights", "MB", "stored bytes of all tensors", digits=2),
    ),
    "Teacher-forced": (
        Measure(
            "hidden_snr",
            "hidden state",
            "dB",
            "SNR of the language model's output state, fed with the float model's own latents",
            "snr",
            ("hidden_signal", "hidden_noise"),
        ),
        Measure(
            "hidden_cosine",
            "hidden state, cosine",
            "",
            "cosine of the same states",
            "mean",
            ("hidden_cosine",),
            digits=4,
        ),
        Measure(
            "latent_snr",
            "next latent",
            "dB",
            "SNR of the next latent, fed with the float model's own latents and noise",
            "snr",
            ("latent_signal", "latent_noise"),
        ),
        Measure(
            "latent_cosine",
            "next latent, cosine",
            "",
            "cosine of the next latent",
            "mean",
            ("latent_cosine",),
            digits=4,
        ),
        Measure(
            "eos_error_mean",
            "EOS logit error",
            "",
            "mean absolute error of the end-of-speech logit",
            "ratio",
            ("eos_error_sum", "eos_frames"),
            digits=3,
        ),
        Measure(
            "eos_error_max",
            "EOS logit error, largest",
            "",
            "largest error of the end-of-speech logit",
            "max",
            ("eos_error_max",),
            digits=2,
        ),
        Measure(
            "eos_flips",
            "EOS flips",
            "%",
            "share of frames where the end-of-speech decision is another one",
            "ratio",
            ("eos_flips", "eos_decisions"),
            digits=2,
        ),
        Measure(
            "eos_early",
            "cut short",
            "%",
            "share of sentences that would end before the float model's end",
            "ratio",
            ("eos_early", "takes"),
        ),
    ),
    "Codec": (
        Measure(
            "wave_snr",
            "waveform",
            "dB",
            "SNR of the sound decoded from the same latents, gain removed",
            "snr",
            ("wave_signal", "wave_noise"),
        ),
        Measure(
            "mel_distance",
            "log-mel distance",
            "dB",
            "difference of the log-mel spectra where there is speech, level removed",
            "ratio",
            ("mel_distance", "takes"),
            digits=2,
        ),
        Measure(
            "level_delta",
            "level",
            "dB",
            "change of the level",
            "ratio",
            ("level_delta", "takes"),
            digits=2,
        ),
        Measure(
            "pause_floor",
            "noise in pauses",
            "dB",
            "quietest tenth of 20 ms windows against the peak",
            "ratio",
            ("pause_floor", "takes"),
        ),
        Measure(
            "pause_floor_delta",
            "noise in pauses, change",
            "dB",
            "how much louder the pauses are than with the float decoder",
            "ratio",
            ("pause_floor_delta", "takes"),
        ),
    ),
    "Free-running": (
        Measure(
            "duration_ratio",
            "duration",
            "x",
            "length of the speech against the float model's",
            "ratio",
            ("frames", "frames_float"),
            digits=3,
        ),
        Measure(
            "no_end",
            "no end",
            "%",
            "share that reached the length limit without an end",
            "ratio",
            ("no_end", "takes"),
        ),
        Measure(
            "no_end_delta",
            "no end, change",
            "%",
            "the same, against the float model",
            "ratio",
            ("no_end_delta", "takes"),
        ),
        Measure(
            "wer",
            "WER",
            "%",
            "word error rate of a speech recognizer, a sentence at most wholly wrong",
            "ratio",
            ("word_errors", "words"),
        ),
        Measure(
            "wer_delta",
            "WER change",
            "%",
            "word error rate against the float model's, paired",
            "ratio",
            ("word_errors_delta", "words"),
        ),
        Measure(
            "similarity",
            "same speaker",
            "",
            "cosine of the speaker embeddings of both takes of a sentence",
            "ratio",
            ("similarity", "takes"),
            digits=3,
        ),
    ),
    "Cost": (
        Measure("file_mb", "file", "MB", "size of the file, tokenizer and voice encoder included", digits=2),
        Measure("peak_mb", "peak memory", "MB", "of a process that loads the file and speaks", digits=0),
        Measure("realtime", "speed", "x", "seconds of speech per second"),
        Measure("first_audio_ms", "first audio", "ms", "from the call to the first 80 ms of sound", digits=0),
    ),
}
MEASURES: dict[str, Measure] = {measure.name: measure for measures in GROUPS.values() for measure in measures}


def summarize(columns: Mapping[str, Sequence[float]]) -> dict[str, Estimate]:
    """Every measure whose columns are there, from numbers per sentence."""
    return {
        name: estimate(measure.statistic, [columns[column] for column in measure.columns])
        for name, measure in MEASURES.items()
        if measure.columns and all(column in columns for column in measure.columns)
    }
