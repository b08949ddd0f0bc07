import pytest
from PIL import Image

from unetkit.errors import UsageError
from unetkit.workflows import demo as module
from unetkit.workflows.demo import demo


def test_the_demo_ends_with_a_picture_of_an_unseen_image(tiny, tmp_path, monkeypatch):
    result = demo(tmp_path / "demo", minutes=0, wafers=3, size=64, changes=tiny, seed=1)
    assert result.report.is_file()
    assert result.prediction.is_file()
    with Image.open(result.overlay) as picture:
        assert picture.size == (64, 64)
        assert picture.mode == "RGB"
    assert len(result.next) == 3
    assert not (result.data / "images" / "unseen").exists()
    assert set(result.dice) == {"scratch", "particle", "stain", "mean"}

    drawn = {path: path.read_bytes() for path in result.data.rglob("*") if path.is_file()}
    for asked, problem in (
        ({"seed": 2}, "holds a run already"),
        ({"seed": 2, "overwrite": True, "changes": {"training.stepz": "1"}}, "no key 'training.stepz'"),
        ({"seed": 2, "resume": True}, "keeps its own plan"),
    ):
        with pytest.raises(UsageError, match=problem):
            demo(tmp_path / "demo", wafers=3, size=64, **asked)
    assert {path: path.read_bytes() for path in result.data.rglob("*") if path.is_file()} == drawn
    again = demo(tmp_path / "demo", size=64, resume=True)  # its own minutes, seed and pictures
    assert again.dice == result.dice


def test_a_demo_takes_three_minutes_when_none_are_said(tmp_path, monkeypatch):
    asked = {}

    def stop(*_, progress, **settings):
        asked.update(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "train", stop)
    with pytest.raises(KeyboardInterrupt):
        demo(tmp_path / "demo", wafers=1, size=64)
    assert asked == {"minutes": 3.0}
