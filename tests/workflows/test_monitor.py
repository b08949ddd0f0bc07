"""Drift: rarely declared where there is none, found where there is, and told image by image."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import unetkit as uk
from unetkit.data.appearance import appearance
from unetkit.errors import DataError, UsageError
from unetkit.inference.ensemble import Ensemble
from unetkit.inference.predict import Predictor
from unetkit.records.drift import REFERENCE, ReferenceFile
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.workflows.model import Model
from unetkit.workflows.monitor import ALARM, compare, unusual
from unetkit.workflows.observing import Observation


def pictures(random, count, *, grain=4):
    """Blocks of ``grain`` pixels under noise, of some brightness."""
    size = 32 // grain
    rough = np.kron(random.normal(0, 25, (count, size, size)), np.ones((1, grain, grain)))
    bright = random.normal(110, 8, (count, 1, 1))
    return (bright + rough + random.normal(0, 4, rough.shape)).clip(0, 255)


def noted(images):
    return [
        Observation(f"i{number}", appearance(image[None].astype(np.uint8), ("image",)), None)
        for number, image in enumerate(images)
    ]


def reference_of(seen):
    names = tuple(seen[0].values)
    return ReferenceFile(
        model_sha256="",
        source="made up",
        ids=tuple(each.id for each in seen),
        names=names,
        values=tuple(tuple(each.values.values()) for each in seen),
        embeddings=() if seen[0].embedding is None else tuple(tuple(each.embedding) for each in seen),
    )


@pytest.fixture(scope="module")
def good():
    return noted(pictures(np.random.default_rng(0), 500))


def test_at_most_1_of_100_clean_batches_is_an_alarm(good):
    random = np.random.default_rng(1)
    reference, pool = reference_of(good[:100]), good[100:]
    alarms = 0
    for _ in range(200):
        batch = [pool[place] for place in random.permutation(len(pool))[:50]]
        alarms += any(test.drifted for test in compare(reference, batch, alarm=ALARM))
    assert alarms <= 2


@pytest.mark.parametrize(
    ("shift", "first"),
    [
        (lambda images: images * 1.25, "intensity"),
        (lambda images: ndimage.gaussian_filter(images, (0, 0.7, 0.7)), "texture"),
        (lambda images: images + np.random.default_rng(5).normal(0, 6, images.shape), "texture"),
        (lambda images: pictures(np.random.default_rng(6), len(images), grain=2), "texture"),
    ],
    ids=["gain", "blur", "noise", "texture"],
)
def test_a_shift_is_found_in_50_images(good, shift, first):
    images = shift(pictures(np.random.default_rng(3), 50)).clip(0, 255)
    tests = compare(reference_of(good[:100]), noted(images), alarm=ALARM)
    assert tests[0].drifted
    assert tests[0].kind == "input"
    assert any(test.name.startswith(first) for test in tests if test.drifted)


def test_an_embedding_that_moves_is_found_and_one_that_stays_is_not():
    random = np.random.default_rng(7)

    def rows(count, shift):
        return [Observation(str(n), {}, random.normal(shift, 1, 16)) for n in range(count)]

    reference = reference_of(rows(80, 0))
    (still,) = compare(reference, rows(50, 0), alarm=ALARM)
    (moved,) = compare(reference, rows(50, 0.5), alarm=ALARM)
    assert (still.name, still.drifted, moved.drifted) == ("embedding", False, True)
    assert moved.reference is None


def test_scores_that_rise_are_no_drift():
    random = np.random.default_rng(8)

    def rows(mean):
        return [
            Observation(str(n), {"performance.dice": float(random.normal(mean, 0.05))}, None)
            for n in range(40)
        ]

    reference = reference_of(rows(0.8))
    assert not compare(reference, rows(0.9), alarm=ALARM)[0].drifted
    (worse,) = compare(reference, rows(0.7), alarm=ALARM)
    assert (worse.kind, worse.drifted) == ("performance", True)


def test_the_image_that_is_odd_is_named_with_the_reason(good, tmp_path):
    batch = noted(pictures(np.random.default_rng(9), 20))
    values = {**batch[4].values, "texture.noise.image": 9.0}
    batch[4] = Observation("odd", values, None)
    paths = {each.id: tmp_path / each.id for each in batch}
    reference = reference_of(good)
    found = unusual(reference, batch, (), paths)
    assert found[0].id == "odd"
    column = [each.values["texture.noise.image"] for each in good]
    assert found[0].reasons[0] == f"texture.noise.image 9 ({min(column):.4g} to {max(column):.4g})"
    half = (np.percentile(column, 95) - np.percentile(column, 5)) / 2
    assert found[0].distance == pytest.approx((9 - max(column)) / half, abs=1e-3)


@pytest.fixture
def model(finished, wafers, tmp_path):
    """A model that knows all twelve pictures to be good."""
    folder = shutil.copytree(finished / "model", tmp_path / "model")
    learned = uk.monitor(folder, wafers, learn=True)
    assert (learned.learned, learned.reference_images, learned.tests) == (True, 12, ())
    return folder


@pytest.fixture
def inverted(wafers, tmp_path):
    folder = tmp_path / "inverted"
    folder.mkdir()
    for path in sorted((wafers / "images").iterdir()):
        with Image.open(path) as picture:
            Image.fromarray(255 - np.asarray(picture)).save(folder / path.name)
    return folder


def test_the_same_images_have_not_drifted_and_inverted_ones_have(model, wafers, inverted, tmp_path):
    same = uk.monitor(model, wafers)
    assert same.drifted == ()
    assert {test.p_value for test in same.tests} == {1.0}
    assert same.unusual == ()
    assert {test.kind for test in same.tests} == {"input", "prediction", "performance"}
    page = tmp_path / "drift.html"
    (inverted / "broken.png").write_bytes(b"no picture")
    other = uk.monitor(model, inverted, html=page)
    assert "input" in other.drifted
    assert other.images == 12
    assert [each.id for each in other.refused] == ["broken"]
    assert "performance.dice" not in [test.name for test in other.tests]  # no labels
    assert other.unusual[0].path.parent == inverted
    assert "What has drifted" in page.read_text()


def test_too_few_images_are_said_to_be_too_few(finished, wafers):
    found = uk.monitor(finished, sorted((wafers / "images").iterdir())[0])
    assert found.images == 1
    assert found.drifted == ()
    assert found.notes[0].startswith("the reference holds 4 images: only great changes")
    assert "1 images cannot show a drift at this rate of false alarms" in found.notes[1]
    assert found.verdict == f"too few images to tell: {found.needed} are needed"


def test_an_exported_model_is_watched_without_its_embedding(exported, wafers, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "exported")
    uk.monitor(folder, wafers, learn=True)
    found = uk.monitor(folder, wafers / "images")
    assert "embedding" not in [test.name for test in found.tests]
    wanted = "this model does not show its embedding (exported ones and ensembles do not): it is not compared"
    assert wanted in found.notes


class Bright:
    """A network that calls bright pixels a defect."""

    notes = ()

    def __init__(self, factor):
        self.factor = factor

    def run(self, batch):
        return np.concatenate([0 * batch, self.factor * batch], axis=1)


def test_an_ensemble_is_watched_without_an_embedding(wafers, inverted, tmp_path):
    plan = Plan.model_validate(EXAMPLE)
    (tmp_path / "model.json").write_text("{}")
    members = [
        lambda factor=factor: Predictor(Bright(factor), plan.data, plan.preparation, plan.inference)
        for factor in (1.0, 2.0)
    ]
    model = Model(tmp_path, plan, Ensemble(members, plan.data, plan.inference), "cpu")
    assert uk.monitor(model, wafers / "images", learn=True).reference_images == 12
    same = uk.monitor(model, wafers / "images")
    assert {test.p_value for test in same.tests} == {1.0}
    assert {test.kind for test in same.tests} == {"input", "prediction"}
    assert "embedding" not in [test.name for test in same.tests]
    assert [note for note in same.notes if "(exported ones and ensembles do not)" in note]
    Image.new("RGB", (64, 64), "red").save(inverted / "colour.png")
    other = uk.monitor(model, inverted)
    assert "input" in other.drifted
    assert [(each.id, each.where) for each in other.refused] == [("colour", str(inverted / "colour.png"))]


def test_a_version_of_a_registry_keeps_its_reference(finished, wafers, tmp_path):
    registry = uk.Registry(tmp_path / "registry")
    version = registry.add(finished)
    assert (tmp_path / "registry" / "versions" / "0001" / REFERENCE).is_file()
    with pytest.raises(UsageError, match="a version of a registry never changes"):
        uk.monitor(version.folder, wafers, learn=True)
    assert uk.monitor(version.folder, wafers / "images").images == 12
    assert registry.verify().versions == 1


def test_what_is_wrong_is_said(finished, model, wafers, tmp_path):
    with pytest.raises(UsageError, match="between 0 and 1, got 1"):
        uk.monitor(model, wafers, alarm=1)
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "x.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="no image could be read; the first:"):
        uk.monitor(model, bad)
    (model / REFERENCE).unlink()
    with pytest.raises(UsageError, match="has no reference"):
        uk.monitor(model, wafers)
