"""What the numbers mean, in a sentence.

The limits are conventions, not laws: under the first one nobody has been heard to notice, above the second one
hears it without comparing. A rate is only held against a recipe when its interval excludes chance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pocketquant.evaluate.catalog import MEASURES
from pocketquant.evaluate.result import Result
from pocketquant.evaluate.statistics import Estimate

Level = Literal["safe", "careful", "audible"]


@dataclass(frozen=True)
class Limit:
    """When a measure becomes a finding.

    Attributes:
        measure: its name.
        distance: how far a value is from what it should be, always growing with the damage.
        careful, audible: the two limits of that distance.
        words: what to call it; `{}` takes the value.
        neutral: the value of no change, which the interval has to exclude; None: any value counts.
    """

    measure: str
    distance: Callable[[float], float]
    careful: float
    audible: float
    words: str
    neutral: float | None = None

    def level(self, found: Estimate) -> Level:
        """How bad it is."""
        if self.neutral is not None and found.low is not None and not found.excludes(self.neutral):
            return "safe"
        distance = self.distance(found.value)
        return "audible" if distance > self.audible else "careful" if distance > self.careful else "safe"


def _as_it_is(value: float) -> float:
    return value


def _below(value: float) -> float:
    return -value


WORD_LIMIT = Limit("wer_delta", _as_it_is, 0.01, 0.03, "words get lost, {} more errors", 0)
LIMITS = (
    Limit("pause_floor_delta", _as_it_is, 3, 6, "pauses hiss, {} louder than before", 0),
    WORD_LIMIT,
    Limit("no_end_delta", _as_it_is, 0.01, 0.03, "{} more sentences find no end", 0),
    Limit("eos_early", _as_it_is, 0.02, 0.05, "{} of the sentences would end too early"),
    Limit("eos_flips", _as_it_is, 0.01, 0.03, "{} of the end-of-speech decisions flip"),
    Limit("eos_error_mean", _as_it_is, 0.5, 1.5, "the end-of-speech logit is off by {}"),
    Limit("latent_snr", _below, -20, -10, "each step is only {} from what it should be"),
    Limit("mel_distance", _as_it_is, 1, 2, "the sound is coloured by {}"),
    Limit("level_delta", abs, 0.5, 2, "the level changes by {}", 0),
    Limit("duration_ratio", lambda value: abs(value - 1), 0.03, 0.1, "speech is {} as long", 1),
    Limit("similarity", _below, -0.85, -0.7, "the speaker is only {} similar"),
)
SAYS: dict[Level, str] = {
    "safe": "Safe to use: no measure sees a change that matters",
    "careful": "Listen before you use it",
    "audible": "Audible",
}


@dataclass(frozen=True)
class Verdict:
    """The judgement on one variant.

    Attributes:
        level: the worst of its findings.
        findings: names of the measures that crossed a limit, with their levels.
        sentence: for people.
    """

    level: Level
    findings: dict[str, Level]
    sentence: str


def judge(result: Result) -> Verdict:
    """Hold the measures of a variant against the limits."""
    findings: dict[str, Level] = {}
    reasons: list[str] = []
    for limit in LIMITS:
        found = result.measures.get(limit.measure)
        if found is None or (level := limit.level(found)) == "safe":
            continue
        findings[limit.measure] = level
        reasons.append(limit.words.format(MEASURES[limit.measure].text(found.value)))
    worst: Level = "safe"
    if findings:
        worst = "audible" if "audible" in findings.values() else "careful"
    sentence = SAYS[worst] + (": " + ", ".join(reasons) if reasons else "") + "."
    if "wer" not in result.measures:
        sentence += " Word errors were not measured."
    elif "wer_delta" not in findings:
        sentence += _what_chance_leaves_open(result.measures["wer_delta"])
    return Verdict(worst, findings, sentence)


def _what_chance_leaves_open(found: Estimate) -> str:
    """A second sentence where the sentences are too few to rule out that words get lost."""
    if found.high is None or found.high <= WORD_LIMIT.audible:
        return ""
    high = MEASURES["wer_delta"].text(found.high)
    return f" More sentences would be needed to rule out up to {high} more word errors."
