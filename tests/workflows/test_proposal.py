import numpy as np
import pytest
from PIL import Image

from unetkit.metrics import STANDARD
from unetkit.metrics.objects import FROM_OBJECTS
from unetkit.records.case import Case
from unetkit.records.plan import DataPlan
from unetkit.workflows import proposal
from unetkit.workflows.proposal import Look, measures_for, propose

OBJECTS = tuple(FROM_OBJECTS)


def test_several_objects_per_case_call_for_a_count_of_objects():
    few, many = Look((900,), 20.0, (64, 64)), Look((80, 90, 100), 8.0, (64, 64))
    assert propose({"organ": [few] * 3}) == {}
    assert tuple(propose({"organ": [few], "lesion": [few, many, many]})) == OBJECTS
    assert propose({"lesion": [many]})["object_recall"].startswith("lesion: 3 objects per case; ")


def test_small_objects_do_so_too():
    small = Look((30,), 4.0, (64, 64, 64))
    assert propose({"lesion": [small]})["object_f1"].startswith("lesion: objects of 0.00011 of the image; ")


def test_tubes_call_for_centre_lines_and_not_for_a_count():
    vessels = Look((3000, 500, 200), 4.0, (256, 256))  # 1233 pixels each: 77 times as long as thick
    reasons = propose({"vessel": [vessels] * 2})
    assert tuple(reasons) == ("cldice",)
    assert reasons["cldice"].startswith("vessel: 4 pixels thick and 77 times as long; ")
    both = propose({"vessel": [vessels], "lesion": [Look((9, 9), 3.0, (64, 64))]})
    assert tuple(both) == (*OBJECTS, "cldice")


def test_classes_without_a_pixel_say_nothing():
    assert propose({"never": []}) == {}


@pytest.fixture
def labels(tmp_path):
    """Forty label files: a plate, and specks of another class or of what is not labelled."""
    cases = []
    for number in range(40):
        mask = np.zeros((64, 64), np.uint8)
        mask[20:50, 20:50] = 1
        mask[::6, :12:6] = 2
        path = tmp_path / f"{number}.png"
        Image.fromarray(mask).save(path)
        cases.append(Case(id=str(number), images=(), label=path, group=str(number)))
    return cases


def data(**more):
    values = {"classes": ("background", "plate", "speck"), "label_values": (0, 1, 2), **more}
    return DataPlan(rank=2, channels=("image",), **values)


def test_some_labels_are_looked_at_and_what_is_asked_for_is_added(labels, monkeypatch):
    looked = []
    read = proposal.read_label
    monkeypatch.setattr(proposal, "read_label", lambda case, plan: looked.append(case.id) or read(case, plan))
    found = measures_for(labels, data(), also=["cldice", "dice"], tolerance_mm=3.0)
    assert found.metrics == (*STANDARD, *OBJECTS, "cldice")
    assert found.tolerance_mm == 3
    assert set(found.reasons) == set(OBJECTS)
    assert found.reasons["object_f1"].startswith("speck: 22 objects per case; ")
    assert (len(looked), looked[0], looked[-1]) == (32, "0", "39")


def test_unknown_pixels_are_no_objects(labels):
    plain = data(classes=("background", "plate"), label_values=(0, 1), ignore_value=2)
    assert measures_for(labels[:3], plain).metrics == STANDARD
    assert measures_for([], plain).metrics == STANDARD
