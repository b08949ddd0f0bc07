import itertools
import json

import numpy as np
import pytest

from unetkit.cli import main
from unetkit.data.formats import format_of
from unetkit.errors import UsageError
from unetkit.inference.uncertainty import entropy
from unetkit.workflows.model import load
from unetkit.workflows.predict import predict

pytestmark = pytest.mark.usefixtures("excepthook")


def test_the_map_is_the_entropy_of_the_probabilities_and_the_labels_stay(finished, wafers, tmp_path):
    model = load(finished)
    image = sorted((wafers / "images").iterdir())[0]
    (one,) = predict(model, image, tmp_path / "a", uncertainty=True, probabilities=True).written
    assert one.uncertainty == tmp_path / "a" / "uncertainty" / image.name
    assert one.disagreement is None
    levels, _ = format_of(one.uncertainty).read_label(one.uncertainty)
    shares = model.predict(image, probabilities=True).probabilities
    assert np.array_equal(levels, np.rint(255 * entropy(shares)))
    assert one.probabilities is not None
    (plain,) = predict(model, image, tmp_path / "b").written
    assert plain.uncertainty is None
    assert plain.path.read_bytes() == one.path.read_bytes()
    assert [path.name for path in (tmp_path / "b").iterdir()] == [image.name]


def test_mirrored_images_are_predicted_by_themselves(finished, wafers, tmp_path):
    model = load(finished)
    image = sorted((wafers / "images").iterdir())[1]
    (one,) = predict(model, image, tmp_path, tta=True, uncertainty=True).written
    pixels, _ = format_of(image).read(image)
    passes = []
    mirrored = [axis + 1 for axis in model.plan.inference.mirror_axes]
    assert mirrored
    for axes in (each for count in range(3) for each in itertools.combinations(mirrored, count)):
        found = model.predict(np.flip(pixels, axes).copy(), probabilities=True).probabilities
        passes.append(np.flip(found, axes))
    levels, _ = format_of(one.uncertainty).read_label(one.uncertainty)
    wanted = 255 * entropy(np.mean(passes, axis=0))
    assert np.abs(levels - wanted).max() <= 0.5 + 1e-3
    labels = np.asarray(model.predict(image, tta=True))
    apart = np.mean([each.argmax(axis=0) != labels for each in passes], axis=0)
    assert one.disagreement == tmp_path / "disagreement" / image.name
    assert np.array_equal(format_of(one.disagreement).read_label(one.disagreement)[0], np.rint(255 * apart))


def test_a_volume_keeps_its_place(volumes, tiny_volume_words, tmp_path, capfd):
    run, out = tmp_path / "run", tmp_path / "out"
    changes = [word.replace("steps=6", "steps=1") for word in tiny_volume_words]
    assert main(["train", str(volumes), "--out", str(run), "--fold", "0/3", "-q", *changes]) == 0
    image = volumes / "imagesTr" / "case0_0000.nii.gz"
    capfd.readouterr()
    assert main(["predict", str(run), str(image), "--out", str(out), "--uncertainty", "--json"]) == 0
    (one,) = json.loads(capfd.readouterr().out)["written"]
    path = out / "uncertainty" / "case0_0000.nii.gz"
    assert one["uncertainty"] == str(path)
    levels, grid = format_of(path).read_label(path)
    pixels, own = format_of(image).read(image)
    assert levels.shape == pixels.shape[1:]
    assert grid.matches(own)


def test_an_unknown_output_is_answered_with_the_nearest(finished, wafers, tmp_path):
    with pytest.raises(UsageError, match="predict has no option 'uncertain'") as wrong:
        predict(finished, wafers / "images", tmp_path, uncertain=True)
    assert "uncertainty" in wrong.value.cure
