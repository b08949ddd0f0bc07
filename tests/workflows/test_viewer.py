import base64
import io
import json
import re
from importlib.resources import files

import numpy as np
from PIL import Image

from unetkit.records.case import Grid
from unetkit.records.run import Run
from unetkit.workflows.case_pictures import Shown, read_planes, save_pictures
from unetkit.workflows.viewer import MOST_OBJECTS, viewer

CLASSES = ("background", "x")
SCRIPT = files("unetkit.workflows").joinpath("viewer.js").read_text(encoding="utf-8")


def made(folder, id="a", *, channel="", number=0):
    labels = np.zeros((6, 8, 16), np.uint8)
    labels[3, 2:5, 2:5] = 1
    pixels = np.random.default_rng(0).integers(-1000, 3000, (1, 6, 8, 16)).astype(np.int16)
    case = Shown(id, pixels, Grid.plain(3), labels, 0 * labels, classes=("x",), channel=channel)
    return save_pictures(Run(folder), number, case, budget=10**6)


def data(text):
    return json.loads(re.search(r'<script type="application/json" id="viewer-data">(.*?)</script>', text)[1])


def opened(uri):
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
        return np.asarray(picture).astype(int)


def test_sixteen_bits_reach_the_browser_in_two_channels(tmp_path):
    case = made(tmp_path, channel="CT")
    (one,) = data(viewer(Run(tmp_path), CLASSES, [(case, "Dice 0")]))["cases"]
    sheet = opened(one["image"])
    levels = sheet[..., 0] * 256 + sheet[..., 1]
    with Image.open(tmp_path / "pictures" / case.image) as stored:
        assert np.array_equal(levels, np.asarray(stored))
    assert opened(one["reference"]).max() == 1
    assert one["kind"] == "wide"
    assert one["windows"][1]["name"] == "lung"


def test_grey_goes_in_as_it_is(tmp_path):
    case = made(tmp_path)
    (one,) = data(viewer(Run(tmp_path), CLASSES, [(case, "Dice 0")]))["cases"]
    planes = read_planes(Run(tmp_path), case, case.image)
    assert opened(one["image"]).sum() == planes.sum()
    assert (one["shape"], one["across"]) == ([6, 8, 16], case.across)


def test_objects_lead_to_their_places_worst_first(tmp_path):
    first, second = made(tmp_path, "a"), made(tmp_path, "b", number=1)
    larger = second.objects[0].model_copy(update={"size": 99.0})
    text = viewer(
        Run(tmp_path), CLASSES, [(first, ""), (second.model_copy(update={"objects": (larger,)}), "")]
    )
    found = re.findall(r'data-open="(\d)" data-at="([\d,]+)"', text)
    assert found == [("1", "3,3,3"), ("0", "3,3,3")]
    assert "2 missed or false" in text
    many = first.model_copy(update={"objects": first.objects * (MOST_OBJECTS + 5)})
    text = viewer(Run(tmp_path), CLASSES, [(many, "")])
    assert text.count("data-at=") == MOST_OBJECTS
    assert f"the first {MOST_OBJECTS} are listed" in text


def test_a_name_cannot_become_html(tmp_path):
    evil = "</script><script>alert(1)</script><!--"
    text = viewer(Run(tmp_path), ("background", evil), [(made(tmp_path, evil), evil)])
    assert evil not in text
    assert text.count("<script") == 1
    assert data(text)["cases"][0]["id"] == evil


def test_script_and_page_agree_on_their_parts(tmp_path):
    text = viewer(Run(tmp_path), CLASSES, [(made(tmp_path), "")])
    there = set(re.findall(r'data-part="(\w+)"', text))
    wanted = set(re.findall(r'part\("(\w+)"\)', SCRIPT)) | {"top", "right", "bottom", "left"}
    wanted |= {"windows", "levels", "widths", "planes", "slices", "prediction", "reference"}
    assert wanted == there
    keys = set(data(text)["cases"][0])
    assert set(re.findall(r"\bone\.(\w+)", SCRIPT)) <= keys
    assert "http" not in SCRIPT
    assert "fetch" not in SCRIPT


def test_no_pictures_no_viewer(tmp_path):
    assert viewer(Run(tmp_path), CLASSES, []) == ""
