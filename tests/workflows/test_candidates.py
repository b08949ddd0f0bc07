"""The best configuration, pair or all, by the Dice of cases that were not seen: against numpy."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from unetkit.errors import DataError
from unetkit.records.case import Case
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.records.progress import Quiet
from unetkit.workflows import candidates
from unetkit.workflows.candidates import best, choose, options
from unetkit.workflows.configurations import Fold


def test_options_are_singles_pairs_and_all():
    assert options(1) == ((0,),)
    assert options(2) == ((0,), (1,), (0, 1))
    assert len(options(4)) == 4 + 6 + 1


def test_fewer_networks_win_a_tie_then_the_first():
    assert best({(0,): {"a": 1.0}, (1,): {"a": 1.0}, (0, 1): {"a": 1.0}}) == (0,)
    assert best({(0,): {"a": 0.2}, (1,): {"a": 0.3}, (0, 1): {"a": 0.3 + 1e-12}}) == (1,)
    assert best({(0,): {"a": 0.2}, (1,): {"a": 0.3}, (0, 1): {"a": 0.4}}) == (0, 1)


@pytest.fixture
def cases(tmp_path):
    rows = []
    for number in range(6):
        mask = np.zeros((12, 12), np.uint8)
        mask[2:7, 2 : 6 + number % 3] = 1
        path = tmp_path / f"{number}.png"
        Image.fromarray(mask).save(path)
        rows.append(Case(id=f"c{number}", images=(), label=path, group=f"g{number // 2}"))
    return rows


class Told:
    """Answers with probabilities that were drawn: truth, blurred by its own noise."""

    def __init__(self, seed, noise, sides):
        self.plan = Plan.model_validate(EXAMPLE).with_values({"data.label_values": "[0,1]"})
        self.predictor = self
        self.seed, self.noise, self.sides = seed, noise, sides

    def case(self, case, *, probabilities):
        assert probabilities
        self.sides.append((self.seed, case.id))
        truth = np.asarray(Image.open(case.label)).astype(np.float32)
        random = np.random.default_rng([self.seed, int(case.id[1:])])
        one = (truth + random.normal(0, self.noise, truth.shape)).clip(0, 1).astype(np.float32)
        return SimpleNamespace(probabilities=np.stack([1 - one, one]))


def dice(models, case):
    mean = np.mean([one.case(case, probabilities=True).probabilities for one in models], axis=0)
    truth, found = np.asarray(Image.open(case.label)) == 1, mean[1] > mean[0]
    return 2 * (truth & found).sum() / (truth.sum() + found.sum())


def test_every_option_is_judged_on_unseen_cases(cases, tmp_path, monkeypatch):
    asked = []
    networks = {
        f"{name}{fold}": Told(10 * fold + seed, 0.6, asked)
        for fold in (0, 1)
        for seed, name in enumerate("abc")
    }
    monkeypatch.setattr(candidates, "load", lambda place, *, device: networks[place.name])
    folds = [
        Fold(cases=tuple(part), models=tuple(tmp_path / f"{name}{fold}" for name in "abc"), trained_on=3)
        for fold, part in enumerate((cases[:3], cases[3:]))
    ]
    chosen, rows = choose(folds, ["a", "b", "c"], device="cpu", progress=Quiet())
    assert {(seed // 10, id) for seed, id in asked} == {(n // 3, f"c{n}") for n in range(6)}
    assert len(asked) == 3 * 6  # each case once by each model of its fold
    wanted = {
        option: [
            dice([networks[f"{'abc'[place]}{number // 3}"] for place in option], case)
            for number, case in enumerate(cases)
        ]
        for option in options(3)
    }
    assert [row.names for row in rows] == [tuple("abc"[place] for place in option) for option in options(3)]
    for row, values in zip(rows, wanted.values(), strict=True):
        assert row.dice.mean == pytest.approx(np.mean(values))
        assert row.dice.cases == 6
        assert row.dice.low < row.dice.mean < row.dice.high
    top = max(options(3), key=lambda option: np.mean(wanted[option]))
    assert chosen == top == (0, 1, 2)  # independent noise: the mean of all is nearest to the truth
    alone = max(((0,), (1,), (2,)), key=lambda option: np.mean(wanted[option]))
    apart = np.subtract(wanted[top], wanted[alone])
    (row,) = [row for row in rows if row.chosen]
    assert row.against_best_alone.mean == pytest.approx(apart.mean())
    assert row.against_best_alone.p_value == pytest.approx(stats.wilcoxon(apart[apart != 0]).pvalue)
    assert [row.names for row in rows if row.against_best_alone is None] == [("abc"[alone[0]],)]


def test_a_bad_network_is_left_out(cases, tmp_path, monkeypatch):
    networks = {"a": Told(0, 0.1, []), "b": Told(1, 3.0, [])}
    monkeypatch.setattr(candidates, "load", lambda place, *, device: networks[place.name])
    folds = [Fold(cases=tuple(cases), models=(tmp_path / "a", tmp_path / "b"), trained_on=3)]
    assert choose(folds, ["a", "b"], device="cpu", progress=Quiet())[0] == (0,)


def test_without_an_object_nothing_can_be_judged(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "0.png")
    case = Case(id="c0", images=(), label=tmp_path / "0.png", group="g")
    monkeypatch.setattr(candidates, "load", lambda place, *, device: Told(0, 0.0, []))
    fold = Fold(cases=(case,), models=(tmp_path / "a", tmp_path / "b"), trained_on=1)
    with pytest.raises(DataError, match="no case has a pixel of a class"):
        choose([fold], ["a", "b"], device="cpu", progress=Quiet())


def test_who_sees_something_on_an_empty_image_is_not_excused_from_it(cases, tmp_path, monkeypatch):
    """The loud one is better where there is an object; on as many empty images it sees one all the same."""
    empty = []
    for number in range(6, 12):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.zeros((12, 12), np.uint8)).save(path)
        empty.append(Case(id=f"c{number}", images=(), label=path, group=f"g{number}"))

    class Fixed(Told):
        def case(self, case, *, probabilities):
            truth = np.asarray(Image.open(case.label)) == 1
            found = truth.copy()
            if self.seed == 0:
                found[2] = False  # quiet: misses a row
            elif not truth.any():
                found[5, 5] = True
            return SimpleNamespace(probabilities=np.stack([~found, found]).astype(np.float32))

    networks = {"quiet": Fixed(0, 0, []), "loud": Fixed(1, 0, [])}
    monkeypatch.setattr(candidates, "load", lambda place, *, device: networks[place.name])
    models = (tmp_path / "quiet", tmp_path / "loud")
    folds = [Fold(cases=(*cases, *empty), models=models, trained_on=3)]
    chosen, rows = choose(folds, ["quiet", "loud"], device="cpu", progress=Quiet())
    assert chosen == (0,)
    assert {row.names: row.dice.cases for row in rows} == {
        ("quiet",): 12,
        ("loud",): 12,
        ("quiet", "loud"): 12,
    }
    assert rows[1].dice.mean == pytest.approx(0.5)
