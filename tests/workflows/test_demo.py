from PIL import Image

from unetkit.workflows.demo import demo


def test_the_demo_ends_with_a_picture_of_an_unseen_image(tiny, tmp_path):
    result = demo(tmp_path / "demo", minutes=0, wafers=3, size=64, changes=tiny, seed=1)
    assert result.report.is_file()
    assert result.prediction.is_file()
    with Image.open(result.overlay) as picture:
        assert picture.size == (64, 64)
        assert picture.mode == "RGB"
    assert len(result.next) == 3
    assert not (result.data / "images" / "unseen").exists()
    assert set(result.dice) == {"scratch", "particle", "stain", "mean"}
