"""No word of a patient in what a run leaves: canaries in headers and file names, and a look at every byte."""

import base64
import gzip
import io
import json
import re

import nibabel
import numpy as np
import pytest
from PIL import Image

from unetkit.cli import main
from unetkit.data.formats import format_of

pytest.importorskip("pydicom", reason="pydicom is not installed")
pytestmark = pytest.mark.usefixtures("excepthook")

CANARY = "Canary"
TELLING = {"PatientComments": "Canary", "InstitutionName": "Canary Hospital", "OtherPatientIDs": "CANARY-2"}


def ball(number):
    random = np.random.default_rng(number)
    z, y, x = np.mgrid[:10, :20, :22]
    centre = random.uniform((4, 8, 8), (6, 12, 14))
    mask = ((2 * (z - centre[0])) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 < 25).astype(np.uint8)
    return (random.normal(1100, 10, mask.shape) + 60 * mask).astype(np.int16), mask


def write_nifti(path, array):
    """A volume with the patient in every free field of its header and in an extension."""
    image = nibabel.Nifti1Image(array.T, np.diag([0.7, 0.5, 2.0, 1.0]))
    for field in ("descrip", "db_name", "aux_file", "intent_name"):
        image.header[field] = b"Canary^Yellow"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"Canary^Yellow born 1970"))
    nibabel.save(image, path)


@pytest.fixture
def archive(tmp_path, write_series):
    """Series and NIfTI files named by their patients; a CSV gives them ids, and says more than is needed."""
    data = tmp_path / "archive"
    data.mkdir()
    rows = ["id,image,label,group,patient_name"]
    for number in range(6):
        stored, mask = ball(number)
        label = data / f"Canary^Yellow{number}_label.nii.gz"
        if number % 2:
            image = data / f"Canary^Yellow{number}"
            files = write_series(image, stored.astype(np.uint16), **TELLING)
            files[0].rename(image / "Canary^Yellow_IM.dcm")
            format_of(label).write(label, mask, format_of(image).describe(image).grid)
        else:
            image = data / f"Canary^Yellow{number}_sub-Canary.nii.gz"
            write_nifti(image, stored)
            write_nifti(label, mask)
        rows.append(f"p{number},{image.name},{label.name},g{number},Canary Yellow")
    (data / "index.csv").write_text("\n".join(rows) + "\n")
    names = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "ball": 1}}
    (data / "dataset.json").write_text(json.dumps(names))
    return data / "index.csv"


def layers(content):
    """Bytes, and what is packed in them: gzip, pictures inside a page, the texts inside a picture."""
    yield content
    if content[:2] == b"\x1f\x8b":
        yield from layers(gzip.decompress(content))
    if content[:8] == b"\x89PNG\r\n\x1a\n":
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
            yield str(picture.info).encode()
    for uri in re.findall(rb"data:image/png;base64,([A-Za-z0-9+/=]+)", content):
        yield from layers(base64.b64decode(uri))


def leaks(folder):
    """Files below a folder whose name or content holds the canary."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if CANARY.lower() in path.name.lower()
        or (path.is_file() and any(b"canary" in layer.lower() for layer in layers(path.read_bytes())))
    )


def test_the_search_finds_what_is_packed(tmp_path):
    picture = io.BytesIO()
    from PIL.PngImagePlugin import PngInfo

    told = PngInfo()
    told.add_text("Comment", "Canary", zip=True)
    Image.new("L", (2, 2)).save(picture, "PNG", pnginfo=told)
    (tmp_path / "a.html").write_bytes(b"data:image/png;base64," + base64.b64encode(picture.getvalue()))
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(b"..canary.."))
    (tmp_path / "c").write_bytes(b"nothing")
    assert leaks(tmp_path) == ["a.html", "b.nii.gz"]


def test_a_run_names_cases_and_no_patient(archive, tiny_volume_words, tmp_path, capfd):
    run, out = tmp_path / "run", tmp_path / "out"
    words = ["train", str(archive), "--out", str(run), "--fold", "0/2", "--debug", *tiny_volume_words]
    assert main(words) == 0
    assert leaks(run) == []
    assert "p1" in (run / "report.html").read_text()
    told = capfd.readouterr()
    for word in ("CANARY-4711", "CANARY-2", "Hospital", "Doctor", "born"):  # of headers; files are named
        assert word not in told.out + told.err
    names = {path.name for path in run.iterdir()}
    assert {"model", "journal.jsonl", "manifest.json", "report.html", "pictures", "predictions"} <= names
    image = archive.parent / "Canary^Yellow1"
    assert main(["predict", str(run), str(image), "--out", str(out), "--uncertainty", "--tta", "-q"]) == 0
    for path in (*(out / "uncertainty").iterdir(), *(out / "disagreement").iterdir()):
        assert not any(b"canary" in layer.lower() for layer in layers(path.read_bytes()))
        assert format_of(path).read_label(path)[1].matches(format_of(image).describe(image).grid)


def test_a_log_says_whose_file_it_was_and_not_its_name(archive, tiny_volume_words, tmp_path, capfd):
    run = tmp_path / "run"
    broken = archive.parent / "Canary^Yellow1" / "Canary^Yellow_IM.dcm"
    broken.write_bytes(broken.read_bytes()[:-40])
    assert main(["train", str(archive), "--out", str(run), "--fold", "0/2", *tiny_volume_words]) == 3
    assert broken.name in capfd.readouterr().err  # the person who is there has to find it
    log = (run / "log.txt").read_text()
    assert "<image of p1>" in log
    assert leaks(run) == []


def test_check_says_that_a_folder_is_named_by_its_patient(archive, capfd):
    assert main(["check", str(archive), "--json"]) == 0
    told = capfd.readouterr().out
    assert "holds the patient's name or number" in told
    assert "3 files in all" in told
