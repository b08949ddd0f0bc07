import numpy as np
from PIL import Image

from unetkit.data.catalog import find_cases
from unetkit.workflows.wafers import CLASSES, make_wafers


def masks(folder):
    return [np.asarray(Image.open(path)) for path in sorted((folder / "masks").iterdir())]


def test_the_same_seed_gives_the_same_files(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_wafers(tmp_path / name, wafers=1, size=64, seed=seed)
    files = [sorted(p.relative_to(tmp_path / n) for p in (tmp_path / n).rglob("*.*")) for n in "ab"]
    assert files[0] == files[1]
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files[0])
    image = "images/wafer00-0.png"
    assert (tmp_path / "a" / image).read_bytes() != (tmp_path / "c" / image).read_bytes()


def test_it_is_a_data_set_with_groups_names_and_little_foreground(tmp_path):
    make_wafers(tmp_path, wafers=6, size=256)
    catalog = find_cases(tmp_path)
    assert len(catalog.cases) == 24
    assert len({case.group for case in catalog.cases}) == 6
    assert tuple(catalog.names[value] for value in range(4)) == CLASSES
    together = np.concatenate([mask.ravel() for mask in masks(tmp_path)])
    assert set(np.unique(together)) == {0, 1, 2, 3}
    assert 0.003 < (together > 0).mean() < 0.02


def test_defects_are_faint(tmp_path):
    make_wafers(tmp_path, wafers=3, size=256)
    for path in sorted((tmp_path / "images").iterdir())[::4]:
        pixels = np.asarray(Image.open(path)).astype(float)
        assert pixels.dtype == float
        assert 4 < pixels.std() < 25


def test_without_labels_only_images_are_written(tmp_path):
    written = make_wafers(tmp_path, wafers=1, size=64, labelled=False)
    assert sorted(tmp_path.iterdir()) == sorted(written)
