import json

import numpy as np
import pytest
from PIL import Image

from unetkit.errors import DataError
from unetkit.workflows.check import check


def test_it_counts_what_is_there(wafers):
    result = check(wafers)
    assert (result.cases, result.groups, result.unlabelled, result.refused) == (12, 3, 0, False)
    assert result.shapes == {"64 × 64": 12}
    assert sum(row.share for row in result.classes) == pytest.approx(1)
    masks = [np.asarray(Image.open(path)) for path in (wafers / "masks").iterdir()]
    for row in result.classes:
        assert row.pixels == sum(int((mask == row.value).sum()) for mask in masks)
        assert row.cases == sum(bool((mask == row.value).any()) for mask in masks)
    json.loads(result.to_json())


def test_volumes_have_pictures_and_spacings(volumes, tmp_path):
    result = check(volumes, html=tmp_path / "c.html")
    assert result.spacings_mm == {"2 × 1 × 1": 6}
    assert (tmp_path / "c.html").read_text().count("data:image/png") == 6


def test_every_problem_is_listed_and_names_are_escaped(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for name in ("a&b", "c", "d"):
            Image.fromarray(np.eye(16, dtype=np.uint8)).save(tmp_path / folder / f"{name}.png")
    (tmp_path / "images" / "c.png").write_bytes(b"no picture")
    (tmp_path / "masks" / "d.png").unlink()
    result = check(tmp_path, html=tmp_path / "c.html")
    assert result.refused
    assert {row.where.rpartition("/")[2] for row in result.problems if row.severity == "refused"} >= {"c.png"}
    assert result.problems[0].severity == "refused"
    text = (tmp_path / "c.html").read_text()
    assert "Training would be refused" in text
    assert "a&b" not in text


def test_a_damaged_image_without_a_label_is_named(wafers, tmp_path):
    (tmp_path / "cut.png").write_bytes(next((wafers / "images").iterdir()).read_bytes()[:500])
    names = sorted(path.name for path in (wafers / "images").iterdir())[:3]
    rows = [f"{wafers}/images/{name},{wafers}/masks/{name}" for name in names]
    (tmp_path / "cases.csv").write_text("\n".join(["image,label", *rows, "cut.png,"]))
    result = check(tmp_path / "cases.csv")
    assert (result.cases, result.unlabelled, result.refused) == (3, 1, False)
    (one,) = (row for row in result.problems if row.where.endswith("cut.png"))
    assert (one.severity, "truncated" in one.problem) == ("warning", True)


def test_what_cannot_be_split_is_refused_as_a_training_would(tmp_path):
    rows = ["id,image,label,group"]
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        Image.fromarray(np.eye(16, dtype=np.uint8)).save(tmp_path / f"{number}_m.png")
        rows.append(f"{number},{number}.png,{number}_m.png,one")
    (tmp_path / "cases.csv").write_text("\n".join(rows))
    result = check(tmp_path / "cases.csv")
    assert result.refused
    assert "every case is of one group" in result.problems[0].problem
    assert "give cases that do not belong together different groups" in result.problems[0].cure


def test_nothing_at_all_is_an_error(tmp_path):
    with pytest.raises(DataError):
        check(tmp_path)
