"""The conditions of --fail-if."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pocketquant.evaluate.gate import GateError, parse_gate

VALUES = {"wer_delta": 0.03, "pause_floor_delta": 2.0, "wave_snr": float("inf")}


@pytest.mark.parametrize(
    ("text", "fails"),
    [
        ("wer_delta > 0.02", True),
        ("wer_delta > 0.02 and pause_floor_delta > 6", False),
        ("wer_delta > 0.02 or pause_floor_delta > 6", True),
        ("wer_delta<=0.03", True),
        ("0.03 == wer_delta", True),
        ("wer_delta != 3e-2", False),
        ("not wer_delta > 0.02", False),
        ("not (wer_delta < 0 or pause_floor_delta < 0)", True),
        # `and` binds tighter than `or`
        ("wer_delta > 0 or wer_delta > 1 and pause_floor_delta > 6", True),
        ("(wer_delta > 0 or wer_delta > 1) and pause_floor_delta > 6", False),
        ("wave_snr < 30", False),
        ("pause_floor_delta > -1.5", True),
    ],
)
def test_conditions(text: str, fails: bool) -> None:
    assert parse_gate(text, VALUES).fails(VALUES) is fails


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the end at character 1"),
        ("wer_delta", "expected a comparison"),
        ("wer_delta >", "expected a measure or a number before the end"),
        ("wer_delta > 1 pause_floor_delta", "unexpected 'pause_floor_delta' at character 15"),
        ("(wer_delta > 1", "expected ')' before the end"),
        ("wer_dleta > 1", "did you mean wer_delta"),
        ("__import__('os') > 1", "no measure '__import__'"),
        ("wer_delta > 1; quit()", "cannot read ';'"),
        ("wer_delta = 1", "cannot read '='"),
        ("and wer_delta > 1", "expected a measure"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, message: str) -> None:
    with pytest.raises(GateError) as caught:
        parse_gate(text, VALUES)
    assert message in str(caught.value)
    assert "--fail-if" in str(caught.value)


def test_a_measure_without_value_is_an_error_and_no_pass() -> None:
    gate = parse_gate("wer_delta > 0.02", ["wer_delta"])
    for values in ({}, {"wer_delta": float("nan")}):
        with pytest.raises(GateError, match="has no value"):
            gate.fails(values)


@given(st.text(alphabet="wer_delta<>=!()and or not 0123456789.e+-", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        gate = parse_gate(text, VALUES)
    except GateError:
        return
    assert gate.fails(VALUES) in (True, False)
