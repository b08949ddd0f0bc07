import base64
import io
import re

import numpy as np
from PIL import Image

from unetkit.compression.parity import CaseChange
from unetkit.data.catalog import find_cases
from unetkit.data.labels import read_label, read_pixels
from unetkit.workflows.changed_cases import changed_cases
from unetkit.workflows.model import load
from unetkit.workflows.pictures import at_least, overlay, to_picture
from unetkit.workflows.train import train


def test_each_case_is_shown_as_it_is_and_as_both_see_it(finished, wafers):
    model = load(finished)
    cases = find_cases(wafers).cases
    worst = [CaseChange(id=case.id, before=0.9, after=0.5) for case in cases[:2]]
    text = changed_cases(model, model, cases, worst)
    assert text.count("<img") == 6
    assert text.count("Dice 0.900 → 0.500") == 2
    pixels, _ = read_pixels(cases[0])
    reference, _, _ = read_label(cases[0], model.plan.data)
    found = np.asarray(model.predict(cases[0].images[0]))
    shown = []
    for uri in re.findall(r'src="data:image/png;base64,([^"]+)"', text)[:3]:
        with Image.open(io.BytesIO(base64.b64decode(uri))) as picture:
            shown.append(np.asarray(picture))
    for picture, labels in zip(shown, (reference, found, found), strict=True):
        edge = max(picture.shape)
        wanted = overlay(at_least(to_picture(pixels), edge), at_least(labels, edge))
        assert np.array_equal(picture, wanted)
    assert changed_cases(model, model, cases, []) == ""


def test_of_a_volume_one_slice_is_shown(volumes, tiny_volume_words, tmp_path):
    changes = dict(word.split("=", 1) for word in tiny_volume_words[1::2])
    run = train(volumes, tmp_path / "r", changes={**changes, "training.steps": "1"}, fold=(0, 3))
    cases = find_cases(volumes).cases
    text = changed_cases(run.model, run.model, cases, [CaseChange(id=cases[0].id, before=1.0, after=0.0)])
    assert text.count("<img") == 3
