import numpy as np
import pytest

from unetkit.errors import GateError, UsageError
from unetkit.metrics.score import score_case, summarise
from unetkit.workflows.gate import Gate, raise_unmet, read_gates


def scores(*overlaps):
    """Cases whose object of four pixels is found in so many of them (and whose Dice is a quarter of that)."""
    rows = []
    for number, overlap in enumerate(overlaps):
        truth, found = np.zeros((1, 9), np.uint8), np.zeros((1, 9), np.uint8)
        truth[0, :4] = found[0, 4 - overlap : 8 - overlap] = 1
        if overlap < 0:
            truth[:] = found[:] = 0
        case = score_case(
            str(number), "g", truth, found, classes=["x"], spacing_mm=(1, 1), metrics=["dice", "hd95"]
        )
        rows.append(case)
    return summarise(rows, classes=["x"], metrics=["dice", "hd95"], tolerance_mm=1.0, split="unknown")


def test_gates_are_read_from_words():
    assert read_gates(["dice=0.8", " hd95 = 12.5 "]) == (Gate("dice", 0.8), Gate("hd95", 12.5))
    assert read_gates([]) == ()


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("dice", "write --at-least metric=value"),
        ("dise=0.8", "use 'dice'"),
        ("dice=80", "expected a share from 0 to 1, got '80'"),
        ("dice=good", "expected a share from 0 to 1, got 'good'"),
        ("dice=nan", "expected a share from 0 to 1, got 'nan'"),
        ("hd95=-1", "expected a number of 0 or more, got '-1'"),
    ],
)
def test_what_is_no_gate_is_refused(word, text):
    with pytest.raises(UsageError) as caught:
        read_gates([word])
    assert text in str(caught.value)


def test_a_gate_is_met_or_not():
    measured = scores(4, 2)  # Dice 1 and 0.5; distances 0 and 2
    raise_unmet(measured, read_gates(["dice=0.75", "hd95=2"]))
    with pytest.raises(GateError, match=r"^expected a mean dice of at least 0.76, got 0.75\. Do"):
        raise_unmet(measured, read_gates(["dice=0.76", "hd95=2"]))
    with pytest.raises(GateError, match=r"at least 1, got 0.75; .* hd95 \(mm\) of at most 0.5, got \S+\. Do"):
        raise_unmet(measured, read_gates(["dice=1", "hd95=0.5"]))
    with pytest.raises(GateError, match="got none"):
        raise_unmet(scores(-1), read_gates(["dice=0"]))
