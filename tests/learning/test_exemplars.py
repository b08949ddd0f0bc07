"""What is kept: balanced at every length, within the budget, by a seed; and that it comes back unchanged."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from unetkit.data.catalog import find_cases
from unetkit.data.formats import format_of
from unetkit.data.inspect import inspect
from unetkit.data.labels import read_pixels, read_values
from unetkit.errors import DataError
from unetkit.learning.exemplars import Candidate, choose, herding_order, keep, recall
from unetkit.records.case import Case, Grid
from unetkit.records.plan import DataPlan


def candidate(name: str, domain: str, classes: set[int], size: int = 10) -> Candidate:
    path = Path(name)
    return Candidate(Case(name, (path,), path, name), domain, frozenset(classes), size)


def mixed() -> list[Candidate]:
    """Domain ``a`` has ten times the cases of ``b``; in both, class 2 is rare."""
    common = [candidate(f"a{n}", "a", {1}) for n in range(90)]
    rare = [candidate(f"a-rare{n}", "a", {2}) for n in range(10)]
    other = [candidate(f"b{n}", "b", {1} if n < 8 else {2}) for n in range(10)]
    return common + rare + other


@pytest.mark.parametrize("count", [4, 8, 12])
def test_domains_and_classes_are_balanced_however_few_are_kept(count):
    chosen = choose(mixed(), 10 * count, seed=3)
    assert len(chosen) == count
    cells = Counter((each.domain, *each.classes) for each in chosen)
    assert {domain: sum(n for (d, _), n in cells.items() if d == domain) for domain in "ab"} == {
        "a": count // 2,
        "b": count // 2,
    }
    assert cells["a", 1] == cells["a", 2] == count // 4
    assert cells["b", 2] == min(2, count // 4)


def test_the_budget_is_kept_and_used():
    random = np.random.default_rng(0)
    sizes = random.integers(1, 50, 60)
    every = [candidate(f"c{n}", "ab"[n % 2], {1}, int(size)) for n, size in enumerate(sizes)]
    chosen = choose(every, 300, seed=0)
    used = sum(each.size for each in chosen)
    left = [each.size for each in every if each not in chosen]
    assert used <= 300
    assert min(left) > 300 - used
    assert choose(every, 0, seed=0) == []
    assert len(choose(every, 10**9, seed=0)) == 60


def test_the_seed_decides_and_nothing_else():
    every = mixed()
    names = [[each.case.id for each in choose(every, 80, seed=seed)] for seed in (1, 1, 2)]
    assert names[0] == names[1] != names[2]


def test_a_case_without_an_object_is_a_kind_of_its_own():
    every = [candidate(f"full{n}", "a", {1}) for n in range(50)] + [candidate("bare", "a", set())]
    assert "bare" in {each.case.id for each in choose(every, 20, seed=0)}


def test_herding_is_the_greedy_choice_of_the_paper():
    random = np.random.default_rng(5)
    features = random.normal(size=(20, 3))
    order = herding_order(features)
    assert sorted(order) == list(range(20))
    chosen: list[int] = []
    for step in range(20):
        best = min(
            (n for n in range(20) if n not in chosen),
            key=lambda n: np.linalg.norm(features.mean(0) - features[[*chosen, n]].mean(0)),
        )
        assert order[step] == best
        chosen.append(best)
    distances = [np.linalg.norm(features.mean(0) - features[order[:k]].mean(0)) for k in (1, 5, 20)]
    assert distances == sorted(distances, reverse=True)


def test_herding_keeps_what_is_typical():
    every = [candidate(f"c{n}", "a", {1}) for n in range(9)]
    features = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0], [6.0], [7.0], [8.0]])
    assert [each.case.id for each in choose(every, 10, seed=0, features=features)] == ["c4"]


@pytest.fixture
def memory(wafers, tmp_path):
    inspection = inspect(find_cases(wafers))
    every = [Candidate(case, "old", frozenset({1}), 10) for case in inspection.catalog.cases[:3]]
    every.append(Candidate(inspection.catalog.cases[3], "new", frozenset(), 10))
    folder = tmp_path / "memory"
    record = keep(folder, every, inspection.data, budget_bytes=99, seed=4, how="random", newest="new")
    return folder, inspection.data, record, every


def test_a_memory_comes_back_as_it_was_kept(memory):
    folder, data, record, every = memory
    found = recall(folder, data)
    assert [each.domain for each in found] == ["old", "old", "old", "new"]
    for kept, original in zip(found, every, strict=True):
        assert kept.case.images[0].read_bytes() == original.case.images[0].read_bytes()
        assert kept.case.label.read_bytes() == original.case.label.read_bytes()
        assert kept.case.group == f"{kept.domain}-{original.case.group}"
        assert kept.size == sum(file.stat().st_size for file in (kept.case.images[0], kept.case.label))
    assert len(recall(folder, data, older=True)) == 3
    assert (record.seed, record.how, record.budget_bytes) == (4, "random", 99)
    again = keep(folder.with_name("again"), found, data, budget_bytes=9, seed=0, how="random", newest="x")
    assert [each.id for each in again.cases] == [each.id for each in record.cases]


def test_images_of_many_files_are_kept_whole(tmp_path, write_series):
    pixels, labels = np.arange(24, dtype=np.uint16).reshape(2, 3, 4), np.ones((2, 3, 4), np.uint8)
    write_series(tmp_path / "scans" / "1.2", pixels)
    format_of(tmp_path / "1.2.nii.gz").write(tmp_path / "1.2.nii.gz", labels, Grid.plain(3))
    (tmp_path / "a.raw").write_bytes(labels.tobytes())
    head = (
        "ObjectType = Image\nNDims = 3\nDimSize = 4 3 2\nElementType = MET_UCHAR\nElementDataFile = a.raw\n"
    )
    (tmp_path / "a.mhd").write_text(head)
    case = Case("a", (tmp_path / "scans" / "1.2", tmp_path / "a.mhd"), tmp_path / "1.2.nii.gz", "a")
    data = DataPlan(rank=3, channels=("CT", "b"), classes=("background", "ball"), label_values=(0, 1))
    keep(
        tmp_path / "memory",
        [Candidate(case, "old", frozenset({1}), 9)],
        data,
        budget_bytes=9,
        seed=0,
        how="random",
        newest="new",
    )
    (found,) = recall(tmp_path / "memory", data)
    np.testing.assert_array_equal(read_pixels(found.case)[0], [pixels, labels])
    np.testing.assert_array_equal(read_values(found.case)[0], labels)
    files = [path for path in (tmp_path / "memory" / "files").rglob("*") if path.is_file()]
    assert found.size == sum(path.stat().st_size for path in files)
    assert len(find_cases(tmp_path / "memory" / "cases.csv").cases) == 1
    (tmp_path / "memory" / "files" / "00000" / "image1" / "a.raw").unlink()
    with pytest.raises(DataError, match=r"a\.raw: this file of the memory is missing"):
        recall(tmp_path / "memory", data)


def test_a_memory_knows_which_classes_its_labels_name(memory, wafers, tmp_path):
    """One of before there was a further class names all that there were; newer classes come behind."""
    folder, data, _, every = memory
    count = len(data.classes)
    more = data.model_copy(
        update={"classes": (*data.classes, "more"), "label_values": (*data.label_values, 250)}
    )
    known = frozenset(range(1, count))
    assert {each.named for each in recall(folder, data)} == {known}
    assert {each.named for each in recall(folder, more)} == {known}
    mixed = [*recall(folder, more)[:2], dataclasses.replace(every[3], named=frozenset({count}))]
    keep(tmp_path / "next", mixed, more, budget_bytes=9, seed=0, how="random", newest="x")
    assert [each.named for each in recall(tmp_path / "next", more)] == [known, known, frozenset({count})]
    other = more.model_copy(update={"label_values": (0, 250, *more.label_values[2:])})
    with pytest.raises(DataError, match="expected a memory of the classes"):
        recall(folder, other)


def test_a_memory_is_a_data_set_by_itself(memory):
    folder, data, _, every = memory
    seen = inspect(find_cases(folder / "cases.csv"))
    assert not seen.refused
    assert len(seen.facts) == len(every)
    assert seen.data.classes == data.classes


def test_a_memory_that_was_changed_is_refused(memory):
    folder, data, record, _ = memory
    with pytest.raises(DataError, match=r"expected a memory of the classes 0 background, 1 other.*got"):
        recall(folder, data.model_copy(update={"classes": ("background", "other"), "label_values": (0, 1)}))
    file = folder / record.cases[1].label
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(DataError, match=r"is not the one that was kept \(SHA-256 differs\)"):
        recall(folder, data)
    file.unlink()
    with pytest.raises(DataError, match="missing"):
        recall(folder, data)


def test_an_empty_memory_is_refused(memory):
    folder, data, _, every = memory
    keep(folder, every[3:], data, budget_bytes=1, seed=0, how="random", newest="new")
    with pytest.raises(DataError, match=r"this memory is empty. Do this: name old data, or raise budget_mb"):
        recall(folder, data, older=True)
