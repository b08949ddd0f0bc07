import numpy as np
import pytest
from scipy import stats

from unetkit.errors import UsageError
from unetkit.metrics.score import summarise
from unetkit.records.scores import CaseScores
from unetkit.workflows.against import against, refuse_other


def scored(values, *, classes=("x", "y"), metrics=("dice",)):
    cases = [
        CaseScores(
            id=str(number),
            group=str(number // 2),
            values={name: dict.fromkeys(metrics, value) for name, value in zip(classes, row, strict=True)},
        )
        for number, row in enumerate(values)
    ]
    return summarise(cases, classes=classes, metrics=metrics, tolerance_mm=1.0, split="unknown")


def test_differences_case_by_case_with_scipy_beside():
    rng = np.random.default_rng(0)
    one, other = rng.random((2, 12, 2))
    table = against(scored(one.tolist()), scored(other.tolist()))
    assert list(table) == ["x", "y", "mean"]
    for name, apart in (("x", (one - other)[:, 0]), ("mean", (one - other).mean(axis=1))):
        row = table[name]["dice"]
        assert row.mean == pytest.approx(apart.mean())
        assert row.p_value == pytest.approx(stats.wilcoxon(apart).pvalue)
        assert row.low < row.mean < row.high
        assert row.cases == 12
    back = against(scored(other.tolist()), scored(one.tolist()))
    assert back["x"]["dice"].mean == pytest.approx(-table["x"]["dice"].mean)


def test_equal_ones_do_not_differ():
    same = scored([[0.5, 0.25], [1.0, 0.0], [0.0, 0.5]])
    row = against(same, same)["mean"]["dice"]
    assert (row.mean, row.low, row.high, row.p_value) == (0, 0, 0, 1)


def test_only_what_both_have_is_compared():
    one = scored([[0.5, None], [0.75, 1.0]])
    other = scored([[0.25, 0.5]], metrics=("dice", "iou"))
    table = against(one, other)
    assert list(table["x"]) == ["dice"]
    assert (table["x"]["dice"].mean, table["x"]["dice"].cases) == (0.25, 1)
    assert (table["y"]["dice"].mean, table["y"]["dice"].cases) == (0.5, 1)
    less = scored([[0.5], [0.5]], classes=("x",))
    assert list(against(one, less)) == ["x", "mean"]
    assert against(one, less)["mean"]["dice"].mean == pytest.approx((0.0 + 0.25) / 2)


def test_what_is_no_model_and_no_folder_is_refused_before_any_work(tmp_path):
    refuse_other(tmp_path)
    with pytest.raises(UsageError, match="there is nothing to measure against"):
        refuse_other(tmp_path / "none")


def test_what_one_sees_where_nothing_is_counts_against_the_others_silence():
    quiet, noisy = scored([[None, 0.5], [0.5, 0.5]]), scored([[0.0, 0.5], [0.5, 0.5]])
    row = against(noisy, quiet)["x"]["dice"]
    assert (row.mean, row.cases) == (-0.5, 2)
    assert against(noisy, quiet)["mean"]["dice"].mean == pytest.approx((0.25 - 0.75) / 2)
