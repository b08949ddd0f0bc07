from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unetkit.data.catalog import Catalog
from unetkit.data.facts import CaseFacts, take_facts
from unetkit.data.split import every_fold, folds, leaks, split
from unetkit.errors import DataError, UsageError
from unetkit.records.case import Case, Grid


def fact(id, group, *, classes=(1,), digest=None):
    return CaseFacts(
        id=id,
        group=group,
        shape=(4, 4),
        cropped_shape=(4, 4),
        spacing_mm=(1.0, 1.0),
        calibrated=False,
        dtype="uint8",
        channels=1,
        label_counts={0: 1, **dict.fromkeys(classes, 1)},
        digest=digest or id,
        sampled=np.empty((1, 0), np.float32),
        minima=(0.0,),
        maxima=(1.0,),
        integer=(True,),
        object_sizes={},
    )


def catalog(tmp_path, facts, splits=None):
    cases = tuple(Case(f.id, (), None, f.group, split=(splits or {}).get(f.id)) for f in facts)
    return Catalog(tmp_path, "csv", cases)


sets = st.lists(
    st.tuples(st.integers(0, 9), st.sets(st.integers(1, 4)), st.integers(0, 30)), min_size=1, max_size=40
).map(
    lambda rows: [
        fact(f"c{n}", f"g{group}", classes=sorted(classes), digest=f"d{digest}" if digest < 5 else None)
        for n, (group, classes, digest) in enumerate(rows)
    ]
)


@settings(deadline=None, max_examples=60)
@given(sets, st.integers(2, 6), st.integers(0, 3))
def test_folds_share_no_group_and_no_picture_and_lose_no_case(facts, k, seed):
    try:
        parts = folds(facts, k=k, seed=seed)
    except DataError:
        assert not leaks(facts, [], [])
        return
    assert sorted(id for part in parts for id in part) == sorted(f.id for f in facts)
    assert all(parts)
    for number, held_out in enumerate(parts):
        train = [id for other, part in enumerate(parts) if other != number for id in part]
        assert leaks(facts, train, held_out) == ()
    assert parts == folds(list(reversed(facts)), k=k, seed=seed)


def test_rare_classes_are_spread():
    facts = [fact(f"c{n:02}", f"g{n}", classes=(1, 2) if n < 5 else (1,)) for n in range(20)]
    parts = folds(facts, k=5, seed=0)
    assert [sum(id <= "c04" for id in part) for part in parts] == [1] * 5
    assert [len(part) for part in parts] == [4] * 5


def test_groups_of_one_kind_spread_by_number_of_cases():
    facts = [fact(f"c{n}", f"g{n % 7}", classes=(1 + n % 7 % 3,)) for n in range(70)]
    parts = folds(facts, k=3, seed=0)
    by_class = [Counter(1 + int(id[1:]) % 7 % 3 for id in part) for part in parts]
    assert all(len(counts) >= 2 for counts in by_class)
    assert max(map(len, parts)) - min(map(len, parts)) <= 20


def test_the_seed_decides_between_equals():
    facts = [fact(f"c{n:02}", f"g{n}") for n in range(20)]
    assert folds(facts, k=4, seed=0) != folds(facts, k=4, seed=1)


def test_one_group_cannot_be_held_out():
    with pytest.raises(DataError, match=r"every case is of one group .*give cases .* different groups"):
        folds([fact("a", "g"), fact("b", "g")], k=5, seed=0)


def test_split_says_what_it_did(tmp_path):
    facts = [fact(f"c{n}", f"g{n // 2}") for n in range(10)]
    sides = split(catalog(tmp_path, facts), facts, fold=1, folds=5, seed=0)
    assert (len(sides.train), len(sides.held_out)) == (8, 2)
    assert sides.how == "fold 1 of 5: 5 groups, none on both sides, alike in classes; seed 0"
    few = split(catalog(tmp_path, facts[:4]), facts[:4], fold=4, folds=5, seed=0)
    assert "5 folds were asked for, there are only 2 separate groups" in few.how
    assert len(few.held_out) == 2


@pytest.mark.parametrize(("fold", "count"), [(5, 5), (-1, 5), (0, 1)])
def test_a_fold_that_does_not_exist(tmp_path, fold, count):
    with pytest.raises(UsageError, match=f"there is no fold {fold} of {count}"):
        split(catalog(tmp_path, []), [], fold=fold, folds=count, seed=0)


def test_a_stated_split_is_honoured(tmp_path):
    facts = [fact(id, id) for id in "abcd"]
    sides = split(
        catalog(tmp_path, facts, {"a": "train", "b": "val", "c": "test"}), facts, fold=0, folds=5, seed=0
    )
    assert (sides.train, sides.held_out) == (("a", "d"), ("b",))
    assert (
        "2 train, 1 val; 1 test cases are used for neither; 1 cases without a word count as train"
        in sides.how
    )
    assert sides.warnings == ()
    sides = split(catalog(tmp_path, facts, {"a": "train", "c": "test"}), facts, fold=0, folds=5, seed=0)
    assert sides.held_out == ("c",)


def test_a_stated_split_that_leaks_is_said(tmp_path):
    facts = [fact("a", "g"), fact("b", "g"), fact("c", "h")]
    sides = split(
        catalog(tmp_path, facts, {"a": "train", "b": "val", "c": "train"}), facts, fold=0, folds=5, seed=0
    )
    assert (
        "the stated split leaks: 1 pairs of one group or one picture lie on both sides, such as 'a' and 'b'"
        in (sides.warnings[0])
    )


def test_a_stated_split_with_an_empty_side_is_refused(tmp_path):
    facts = [fact("a", "a"), fact("b", "b")]
    with pytest.raises(DataError, match="leaves one side empty: 2 train, 0 val, 0 test"):
        split(catalog(tmp_path, facts, {"a": "train"}), facts, fold=0, folds=5, seed=0)


def test_leaks_are_found_by_group_and_by_picture():
    facts = [fact("a", "1"), fact("b", "1"), fact("c", "2", digest="a"), fact("d", "3")]
    assert leaks(facts, ["a"], ["b", "c", "d"]) == (("a", "b"), ("a", "c"))
    assert leaks(facts, ["d"], ["a", "b", "c"]) == ()


@pytest.fixture
def single(tmp_path):
    label = np.zeros((60, 200), np.uint8)
    label[20:40, 90:190] = 1
    Image.fromarray(label * 200).save(tmp_path / "i.png")
    Image.fromarray(label).save(tmp_path / "m.png")
    case = Case("one", (tmp_path / "i.png",), tmp_path / "m.png", "one")
    return Catalog(tmp_path, "csv", (case,)), (
        take_facts(case, label[None] * 200, label, Grid.plain(2), samples=9),
    )


@pytest.mark.parametrize("fold", range(5))
def test_a_single_image_is_split_in_space_with_a_margin(single, fold):
    sides = split(*single, fold=fold, folds=5, seed=0)
    held_out = next(part for part in sides.parts if part.id in sides.held_out)
    low, high = held_out.region[1]
    assert sides.how.startswith("there is one image: it was split in space along its longest axis")
    assert "margin of 10 pixels that is neither trained on nor scored" in sides.how
    for part in sides.parts:
        if part.id in sides.train:
            start, stop = part.region[1]
            assert stop <= low - 10 or start >= high + 10
    # the fold that was asked for holds background only when it lies left of pixel 80: the next one is taken
    assert (low, high) == {0: (80, 120), 1: (80, 120)}.get(fold, (40 * fold, 40 * fold + 40))


def test_a_tiny_single_image_cannot_be_split(tmp_path):
    case = Case("one", (), None, "one")
    with pytest.raises(DataError, match="one image of 12 pixels cannot be cut into 5 parts with a margin"):
        split(
            Catalog(tmp_path, "csv", (case,)),
            (take_facts(case, np.ones((1, 4, 12)), np.ones((4, 12), int), Grid.plain(2), samples=1),),
            fold=0,
            folds=5,
            seed=0,
        )


def test_every_fold_holds_out_what_split_holds_out_and_every_case_once(tmp_path):
    facts = [fact(f"c{n}", f"g{n // 2}", classes=(1 + n % 3,)) for n in range(11)]
    parts = every_fold(catalog(tmp_path, facts), facts, folds=4, seed=3)
    for number, part in enumerate(parts):
        assert split(catalog(tmp_path, facts), facts, fold=number, folds=4, seed=3).held_out == part
    assert sorted(id for part in parts for id in part) == sorted(one.id for one in facts)
    few = every_fold(catalog(tmp_path, facts), facts, folds=9, seed=3)
    assert len(few) == 6  # there are no more groups


def test_where_there_are_no_folds(tmp_path):
    facts = [fact("a", "a"), fact("b", "b")]
    stated = catalog(tmp_path, facts, splits={"a": "train", "b": "val"})
    with pytest.raises(DataError, match="the data set states which cases are held out"):
        every_fold(stated, facts, folds=2, seed=0)
    with pytest.raises(DataError, match="a single image is split in space"):
        every_fold(catalog(tmp_path, facts[:1]), facts[:1], folds=2, seed=0)
