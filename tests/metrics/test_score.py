"""Scores: the convention (P8), what a case comes to, and what the cases come to together."""

import itertools
import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from unetkit.errors import DataError, UsageError
from unetkit.lookup import pick
from unetkit.metrics import LOWER_IS_BETTER, METRICS
from unetkit.metrics.convention import CONVENTION, worst
from unetkit.metrics.score import score_case, summarise
from unetkit.records.scores import CaseScores, Scores

NAMES = tuple(METRICS)
CLASSES = ("core", "rim")


def scored(cases, predictions, *, classes=CLASSES, metrics=NAMES):
    rows = [
        score_case(
            str(number), group, reference, prediction,
            classes=classes, spacing_mm=spacing, metrics=metrics, tolerance_mm=1.0,
        )
        for number, ((group, reference, spacing), prediction) in enumerate(
            zip(cases, predictions, strict=True)
        )
    ]  # fmt: skip
    return summarise(rows, classes=classes, metrics=metrics, tolerance_mm=1.0, split="unknown")


def better(metric, new, old):
    """Whether ``new`` is an improvement beyond rounding."""
    if new is None or old is None:
        return False
    gain = old - new if metric in LOWER_IS_BETTER else new - old
    return gain > 1e-9 * max(1.0, abs(old))


def improvements(before, after, rows):
    return [
        (name, metric, part)
        for name, metric, part in itertools.product(rows, NAMES, ("mean", "median", "low", "high"))
        if better(
            metric, getattr(after.summary[name][metric], part), getattr(before.summary[name][metric], part)
        )
    ]


@st.composite
def data_sets(draw):
    """A few cases of very different sizes, with and without objects, hit, missed and spurious."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cases, predictions = [], []
    for _ in range(draw(st.integers(1, 5))):
        shape = tuple(draw(st.integers(1, 12)) for _ in range(2))
        spacing = tuple(draw(st.sampled_from([0.1, 1.0, 30.0])) for _ in range(2))
        share = [draw(st.sampled_from([0.0, 0.1, 0.6])) for _ in range(4)]
        both = [np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)]
        for labels, (core, rim) in zip(both, (share[:2], share[2:]), strict=True):
            labels[rng.random(shape) < core] = 1
            labels[rng.random(shape) < rim] = 2
        cases.append((draw(st.sampled_from("abc")), both[0], spacing))
        predictions.append(both[1] if draw(st.integers(0, 4)) else None)
    return cases, predictions, draw(st.integers(0, len(cases) - 1))


p8 = settings(deadline=None, max_examples=150)


@p8
@given(data_sets(), st.sampled_from([1, 2]))
def test_p8_emptying_one_class_where_it_is_there_never_improves(data, number):
    cases, predictions, which = data
    reference, prediction = cases[which][1], predictions[which]
    if prediction is None or not (reference == number).any():
        return
    emptied = [*predictions]
    emptied[which] = np.where(prediction == number, 0, prediction)
    before, after = scored(cases, predictions), scored(cases, emptied)
    assert improvements(before, after, (*CLASSES, "mean")) == []
    name = CLASSES[number - 1]
    assert name in after.cases[which].missed
    assert after.summary[name]["dice"].n == before.summary[name]["dice"].n


@p8
@given(data_sets())
def test_p8_emptying_a_whole_prediction_never_improves_the_classes_that_are_there(data):
    cases, predictions, which = data
    reference, prediction = cases[which][1], predictions[which]
    if prediction is None or not reference.any():
        return
    there = [name for number, name in enumerate(CLASSES, start=1) if (reference == number).any()]
    emptied = [*predictions]
    emptied[which] = np.zeros_like(prediction)
    before, after = scored(cases, predictions), scored(cases, emptied)
    assert improvements(before, after, (*there, "mean")) == []
    for name in there:
        shape, spacing = reference.shape, cases[which][2]
        assert after.cases[which].values[name] == {m: worst(m, shape, spacing) for m in NAMES}


@p8
@given(data_sets())
def test_p8_dropping_a_prediction_never_improves_anything(data):
    cases, predictions, which = data
    dropped = [*predictions]
    dropped[which] = None
    before, after = scored(cases, predictions), scored(cases, dropped)
    assert improvements(before, after, (*CLASSES, "mean")) == []
    assert after.cases[which].absent
    for name in (*CLASSES, "mean"):
        for metric in NAMES:
            assert after.summary[name][metric].n >= before.summary[name][metric].n
            assert after.summary[name][metric].absent == sum(one is None for one in dropped)


def test_p8_holds_for_a_small_case_beside_a_large_one():
    """The diagonal of the small image alone would pull the mean distance down."""
    large, small = np.zeros((100, 100), np.uint8), np.zeros((4, 4), np.uint8)
    large[0, 0] = 1
    cases = [("a", large, (1.0, 1.0)), ("b", small, (1.0, 1.0))]
    missed = scored(cases, [np.zeros_like(large), small], classes=("x",))
    dropped = scored(cases, [np.zeros_like(large), None], classes=("x",))
    far = math.hypot(100, 100)
    assert missed.summary["x"]["hd95"].mean == pytest.approx(far)
    assert missed.summary["x"]["hd95"].undefined == 1
    assert dropped.cases[1].values["x"]["hd95"] == pytest.approx(math.hypot(4, 4))
    assert dropped.summary["x"]["hd95"].mean == pytest.approx(far)
    assert dropped.summary["x"]["hd95"].undefined == 0


def test_one_hundred_cases_of_which_more_and_more_are_missed():
    """MONAI 1.6.1 answers 4.00 for HD95 in all four rows (experience.md, section 6)."""
    y, x = np.ogrid[:64, :64]
    truth = ((y - 24) ** 2 + (x - 24) ** 2 <= 36).astype(np.uint8)
    found = ((y - 24) ** 2 + (x - 28) ** 2 <= 36).astype(np.uint8)
    want = {"classes": ["disk"], "spacing_mm": (1, 1), "metrics": NAMES}
    hit = score_case("hit", "g", truth, found, **want)
    miss = score_case("miss", "g", truth, 0 * truth, **want)
    assert hit.values["disk"]["hd95"] == 4.0
    rows = []
    for missed in (0, 20, 50, 80):
        cases = [
            (miss if number < missed else hit).model_copy(update={"id": str(number)}) for number in range(100)
        ]
        summary = summarise(
            cases, classes=["disk"], metrics=NAMES, tolerance_mm=1.0, split="unknown"
        ).summary["disk"]
        assert summary["hd95"].n == 100
        assert summary["hd95"].missed == missed
        rows.append((summary["dice"].mean, summary["hd95"].mean, summary["nsd"].mean))
    assert [row[0] for row in rows] == pytest.approx([0.593, 0.474, 0.296, 0.119], abs=1e-3)
    assert [row[2] for row in rows] == pytest.approx([0.188, 0.150, 0.094, 0.038], abs=1e-3)
    diagonal = math.hypot(64, 64)
    assert [row[1] for row in rows] == pytest.approx([4 + (diagonal - 4) * k / 100 for k in (0, 20, 50, 80)])


def test_values_equal_the_functions_of_the_table():
    rng = np.random.default_rng(5)
    reference, prediction = rng.integers(0, 3, (2, 6, 9, 7))
    known = rng.random((6, 9, 7)) > 0.2
    case = score_case(
        "a", "g", reference, prediction,
        classes=CLASSES, spacing_mm=(3, 1, 1), known=known, tolerance_mm=1.0, metrics=NAMES,
    )  # fmt: skip
    for number, name in enumerate(CLASSES, start=1):
        masks = ((reference == number) & known, (prediction == number) & known)
        assert case.values[name] == {
            metric: pick("metric", METRICS, metric)(*masks, spacing_mm=(3, 1, 1), tolerance_mm=1.0)
            for metric in NAMES
        }


def test_unknown_pixels_do_not_count_and_may_hold_any_value():
    reference = np.array([[1, 1, 255], [0, 0, 255]], np.uint8)
    prediction = np.array([[1, 1, 1], [0, 0, 1]], np.uint8)
    known = reference != 255
    case = score_case("a", "g", reference, prediction, classes=["x"], spacing_mm=(1, 1), known=known)
    assert case.values["x"]["dice"] == case.values["x"]["nsd"] == 1
    nothing = score_case(
        "a", "g", reference, prediction, classes=["x"], spacing_mm=(1, 1), known=np.zeros_like(known)
    )
    assert set(nothing.values["x"].values()) == {None}


def test_permuted_classes_permute_scores():
    rng = np.random.default_rng(6)
    reference, prediction = rng.integers(0, 3, (2, 10, 11))
    swap = np.array([0, 2, 1])
    want = {"spacing_mm": (1, 2), "metrics": NAMES}
    straight = score_case("a", "g", reference, prediction, classes=CLASSES, **want)
    crossed = score_case("a", "g", swap[reference], swap[prediction], classes=CLASSES[::-1], **want)
    assert straight.values == crossed.values
    assert straight.objects == crossed.objects


def test_objects_are_told_by_size_where_object_metrics_are_asked_for():
    reference, prediction = np.zeros((2, 9, 9), np.uint8)
    reference[0, 0:4] = reference[4, 4] = reference[8, 0:3] = 1
    prediction[0, 0:4] = prediction[8, 6:8] = 1
    want = {"classes": ["x"], "spacing_mm": (2, 0.5)}
    case = score_case("a", "g", reference, prediction, **want, metrics=["dice", "object_f1"])
    assert case.values["x"]["object_f1"] == pytest.approx(2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2))
    assert (case.objects["x"].found, case.objects["x"].missed) == ((4.0,), (1.0, 3.0))
    assert (case.objects["x"].right, case.objects["x"].wrong) == ((4.0,), (2.0,))
    assert score_case("a", "g", reference, prediction, **want).objects == {}
    uncalibrated = score_case(
        "b",
        "g",
        reference,
        None,
        classes=["x"],
        spacing_mm=(2, 2),
        metrics=["object_recall"],
        calibrated=False,
    )
    assert uncalibrated.objects["x"].missed == (1.0, 3.0, 4.0)
    scores = summarise(
        [case.model_copy(update={"values": {"x": {"dice": 0.5}}}), uncalibrated.model_copy(
            update={"values": {"x": {"dice": 0.0}}})],
        classes=["x"], metrics=["dice"], tolerance_mm=1.0, split="unknown",
    )  # fmt: skip
    every, *bins = scores.objects["x"]
    assert (every.found, every.reference, every.right, every.prediction) == (1, 6, 1, 2)
    assert sum(one.reference for one in bins) == 6


def test_states_are_named():
    reference, prediction = np.array([1, 0, 0], np.uint8), np.array([0, 2, 0], np.uint8)
    case = score_case("a", "g", reference, prediction, classes=("x", "y", "z"), spacing_mm=(2,))
    assert case.missed == ("x",)
    assert case.spurious == ("y",)
    assert not case.absent
    assert case.values["x"] == case.values["y"] == {
        "dice": 0, "iou": 0, "precision": 0, "recall": 0, "hd95": 6, "assd": 6, "nsd": 0, "volume_error": 1,
    }  # fmt: skip
    assert set(case.values["z"].values()) == {None}
    gone = score_case("a", "g", reference, None, classes=("x", "y", "z"), spacing_mm=(2,))
    assert gone.absent
    assert gone.missed == ("x",)
    assert gone.values["x"] == gone.values["y"] == gone.values["z"] == case.values["x"]


def rows_of(values, groups=None, metric="dice", name="x"):
    return [
        CaseScores(id=str(i), group=groups[i] if groups else str(i), values={name: {metric: value}})
        for i, value in enumerate(values)
    ]


def summary_of(values, groups=None, seed=0):
    return summarise(
        rows_of(values, groups),
        classes=["x"],
        metrics=["dice"],
        tolerance_mm=1.0,
        split="held-out",
        seed=seed,
    ).summary["x"]["dice"]


def test_summary_by_hand():
    got = summary_of([0.5, 1.0, None, 0.0])
    assert (got.mean, got.median, got.n, got.undefined, got.missed) == (0.5, 0.5, 3, 1, 0)
    nothing = summary_of([None, None])
    assert (nothing.mean, nothing.median, nothing.low, nothing.high) == (None, None, None, None)
    assert (nothing.n, nothing.undefined) == (0, 2)
    assert summary_of([]).n == 0


def test_mean_row_is_per_case_then_over_cases():
    cases = [
        CaseScores(id="1", group="a", values={"x": {"dice": 0.5}, "y": {"dice": 1.0}}),
        CaseScores(id="2", group="b", values={"x": {"dice": 0.25}, "y": {"dice": None}}),
        CaseScores(id="3", group="c", values={"x": {"dice": None}, "y": {"dice": None}}),
    ]
    got = summarise(cases, classes=["x", "y"], metrics=["dice"], tolerance_mm=1.0, split="held-out").summary
    assert got["mean"]["dice"].mean == 0.5
    assert (got["mean"]["dice"].n, got["mean"]["dice"].undefined) == (2, 1)
    assert got["x"]["dice"].mean == 0.375


def test_interval_equals_a_naive_bootstrap_of_groups():
    rng = np.random.default_rng(8)
    values, groups = rng.random(30).tolist(), [str(i % 7) for i in range(30)]
    got = summary_of(values, groups, seed=4)
    by_group = [[v for v, g in zip(values, groups, strict=True) if g == name] for name in sorted(set(groups))]
    draws = np.random.Generator(np.random.Philox(4)).integers(7, size=(1000, 7))
    means = [np.mean(list(itertools.chain.from_iterable(by_group[i] for i in row))) for row in draws]
    assert (got.low, got.high) == pytest.approx(tuple(np.percentile(means, (2.5, 97.5))))


def test_interval_is_seeded_needs_two_groups_and_ignores_order():
    values = [*np.random.default_rng(2).random(20).tolist(), None]
    groups = [str(number % 13) for number in range(21)]
    once = summary_of(values, groups)
    assert once == summary_of(values, groups)
    assert once != summary_of(values, groups, seed=1)
    turned = summary_of(values[::-1], groups[::-1])
    assert (turned.low, turned.high) == pytest.approx((once.low, once.high))
    assert summary_of([0.1, 0.9], ["a", "a"]).low is None
    assert summary_of([0.1, None], ["a", "b"]).low is None


def test_one_group_of_many_cases_widens_the_interval():
    values = [0.2] * 10 + [0.8] * 10
    alone = summary_of(values)
    grouped = summary_of(values, ["a"] * 10 + ["b"] * 10)
    assert grouped.high - grouped.low > alone.high - alone.low


def test_interval_covers_the_true_mean_about_95_times_in_100():
    rng = np.random.default_rng(9)
    columns = tuple(f"c{i}" for i in range(400))  # 400 experiments at once, one per class
    samples = rng.beta(4, 2, size=(40, len(columns)))
    cases = [
        CaseScores(
            id=str(i), group=str(i), values={n: {"dice": v} for n, v in zip(columns, row, strict=True)}
        )
        for i, row in enumerate(samples.tolist())
    ]
    got = summarise(cases, classes=columns, metrics=["dice"], tolerance_mm=1.0, split="held-out").summary
    covered = np.mean([got[name]["dice"].low <= 4 / 6 <= got[name]["dice"].high for name in columns])
    assert 0.90 <= covered <= 0.98


def test_scores_survive_json():
    reference, prediction = np.array([1, 0, 2], np.uint8), np.array([0, 1, 0], np.uint8)
    cases = [
        score_case(id, group, reference, found, classes=(*CLASSES, "never"), spacing_mm=(1,), metrics=NAMES)
        for id, group, found in (("a", "g", prediction), ("b", "h", None))
    ]
    scores = summarise(
        cases, classes=(*CLASSES, "never"), metrics=NAMES, tolerance_mm=1.0, split="held-out",
        calibration=[(0.9, 0.8, 10)],
    )  # fmt: skip
    assert Scores.from_json(scores.to_json(), where="scores.json") == scores
    assert scores.convention == CONVENTION
    assert scores.calibration == ((0.9, 0.8, 10),)


def test_a_metric_of_a_stranger_is_called_with_whole_masks(monkeypatch):
    monkeypatch.setitem(METRICS, "width", f"{__name__}:width")
    monkeypatch.setattr("unetkit.metrics.score.pick", lambda family, table, name: width)
    reference, other = np.array([0, 1, 1, 0], np.uint8), np.zeros(4, np.uint8)
    want = {"classes": ["x"], "spacing_mm": (2.0,), "metrics": ["width"]}
    assert score_case("a", "g", reference, reference, **want).values["x"]["width"] == 0.0
    assert score_case("a", "g", reference, None, **want).values["x"]["width"] == 8.0
    assert score_case("a", "g", other, other, **want).values["x"]["width"] is None
    assert score_case("a", "g", other, None, **want).values["x"]["width"] == 8.0


def width(reference, prediction, *, spacing_mm, tolerance_mm=1.0):
    if not (reference.any() or prediction.any()):
        return None
    if not (reference.any() and prediction.any()):
        return reference.size * spacing_mm[0]
    return abs(int(reference.sum()) - int(prediction.sum())) * spacing_mm[0]


good = np.array([[0, 1], [1, 0]], np.uint8)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"prediction": np.zeros((2, 3), np.uint8)}, DataError,
         r"case7: expected a prediction of shape \(2, 2\) like the reference, got \(2, 3\)"),
        ({"known": np.ones((3, 2), bool)}, DataError, r"case7: expected a known mask of shape \(2, 2\)"),
        ({"prediction": good.astype(np.float32)}, DataError,
         "case7: expected class ids as whole numbers in the prediction, got float32"),
        ({"prediction": good * 2}, DataError, "case7: expected class ids 0 to 1 in the prediction, got 2"),
        ({"reference": good.astype(np.int16) * -1}, DataError,
         "case7: expected class ids 0 to 1 in the reference, got -1"),
        ({"spacing_mm": (1.0,)}, UsageError, "case7: expected 2 spacings above 0 mm, got"),
        ({"metrics": ["dise"]}, UsageError, "there is no metric 'dise'. Do this: use 'dice'"),
        ({"tolerance_mm": -1.0}, UsageError, "expected a tolerance of 0 mm or more, got -1.0"),
        ({"classes": ["mean"]}, UsageError, "none of them 'mean'"),
        ({"classes": ["x", "x"]}, UsageError, "expected distinct foreground class names"),
        ({"tolerance": 1.0}, TypeError, "unexpected keyword argument 'tolerance'"),
    ],
)  # fmt: skip
def test_wrong_input_is_refused(change, error, text):
    wanted = {"reference": good, "prediction": good, "classes": ["x"], "spacing_mm": (1.0, 1.0), **change}
    with pytest.raises(error, match=text):
        score_case("case7", "g", **wanted)


def test_values_that_are_missing_or_not_finite_are_refused():
    want = {"classes": ["x"], "metrics": ["dice"], "tolerance_mm": 1.0, "split": "held-out"}
    with pytest.raises(DataError, match="0: expected a finite dice of class 'x', got nan"):
        summarise(rows_of([math.nan]), **want)
    with pytest.raises(DataError, match="0: there is no dice of class 'x' for this case"):
        summarise(rows_of([0.5], metric="iou"), **want)
    with pytest.raises(DataError, match="0: this case was scored twice"):
        summarise(rows_of([0.5]) * 2, **want)
