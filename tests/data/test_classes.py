from __future__ import annotations

import pytest

from unetkit.data.classes import decide_classes, numbered_objects


def decide(values, names=None, ignore_value=None):
    counts = values if isinstance(values, dict) else dict.fromkeys(values, 10)
    return decide_classes(counts, names=names or {}, ignore_value=ignore_value, where="data")


def said(classes):
    return {problem.code: problem for problem in classes.problems}


def test_plain_numbers_need_no_words():
    classes = decide([0, 1, 2])
    assert classes.values == (0, 1, 2)
    assert classes.names == ("background", "class 1", "class 2")
    assert classes.problems == ()


@pytest.mark.parametrize("high", [255, 128, 65535])
def test_two_values_are_binary(high):
    classes = decide([0, high])
    assert (classes.values, classes.names, classes.ignore_value) == (
        (0, high),
        ("background", "foreground"),
        None,
    )
    assert f"masks are 0/{high}: two classes" in said(classes)["binary"].problem


@pytest.mark.parametrize("value", [-1, 65536])
def test_a_name_for_a_value_that_no_class_can_have_is_refused(value):
    classes = decide([0, 1, value], names={0: "background", 1: "liver", value: "unlabelled"})
    assert classes.values == ()
    assert (
        f"names the label value {value} 'unlabelled', expected 0 to 65535"
        in said(classes)["label-value"].problem
    )
    assert "is named 'ignore'" in said(classes)["label-value"].cure


def test_a_negative_value_may_mean_not_labelled():
    classes = decide([-1, 0, 1], ignore_value=-1)
    assert (classes.values, classes.ignore_value) == ((0, 1), -1)


def test_labels_from_one_are_said():
    classes = decide([1, 2, 3])
    assert classes.values == (1, 2, 3)
    assert "labels start at 1: the value 1 was taken as the background" in said(classes)["one-based"].problem


def test_gaps_are_said():
    classes = decide([0, 2, 5])
    assert classes.values == (0, 2, 5)
    assert "gaps (no 1, 3, 4): 3 classes, numbered 0…2 inside" in said(classes)["gaps"].problem


@pytest.mark.parametrize("values", [[0, 1, 255], [0, 1, 2, 3, 255], [1, 2, 255]])
def test_255_beside_classes_is_ignored_and_said_aloud(values):
    classes = decide(values)
    assert classes.values == tuple(values[:-1])
    assert classes.ignore_value == 255
    problem = said(classes)["ignore-value"]
    assert problem.severity == "warning"
    assert "it was taken as 'not labelled' and is neither learnt nor scored" in problem.problem


@pytest.mark.parametrize("values", [[0, 255], [0, 128, 255], [0, 100, 200, 255]])
def test_255_is_a_class_otherwise(values):
    classes = decide(values)
    assert classes.ignore_value is None
    assert classes.values == tuple(values)


def test_a_stated_ignore_value_is_believed():
    classes = decide({0: 60, 1: 20, 7: 20}, ignore_value=7)
    assert (classes.values, classes.ignore_value) == ((0, 1), 7)
    assert "as stated (20.0 % of the pixels)" in said(classes)["ignore-value"].problem


def test_stated_names_decide_the_classes_and_their_number():
    classes = decide([0, 1], names={0: "nothing", 1: "liver", 4: "lesion"})
    assert (classes.names, classes.values) == (("nothing", "liver", "lesion"), (0, 1, 4))
    assert "names lesion, which no mask holds" in said(classes)["absent-class"].problem


def test_a_255_that_is_named_is_a_class():
    classes = decide([0, 1, 255], names={0: "no", 1: "liver", 255: "lesion"})
    assert (classes.names[2], classes.ignore_value) == ("lesion", None)


def test_an_unnamed_background_gets_its_name():
    assert decide([0, 1], names={1: "liver"}).names == ("background", "liver")


@pytest.mark.parametrize(
    ("counts", "code", "message"),
    [
        ({0: 9}, "all-background", "all-background labels: no mask of this data set holds anything but 0"),
        ({4: 9}, "one-value", "every pixel of every mask has the value 4"),
        ({-1: 1, 0: 9}, "label-value", "run from -1 to 0, expected 0 to 65535"),
        ({0: 1, 70000: 9}, "label-value", "run from 0 to 70000"),
        (dict.fromkeys(range(300), 1), "too-many-values", "numbered objects"),
        (dict.fromkeys(range(256), 1), "too-many-values", "grey levels"),
        (
            {0: 800, 255: 150, **dict.fromkeys(range(1, 51), 1)},
            "interpolated",
            r"0/255 with 50 grey values between \(5.0 % of the pixels\)",
        ),
    ],
)
def test_values_that_are_no_classes_are_refused(counts, code, message):
    classes = decide(counts)
    assert classes.names == ()
    problem = said(classes)[code]
    assert problem.severity == "refused"
    assert problem.cure
    assert message.replace("\\", "") in problem.problem


def test_all_background_is_refused_although_classes_are_named():
    assert said(decide([0], names={0: "no", 1: "liver"}))["all-background"].severity == "refused"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            {0: "no", 1: "mean"},
            "dataset.json names the label value 1 'mean', which is the row of averages in every",
        ),
        (
            {0: "no", 1: "liver", 3: "liver"},
            "dataset.json gives the label values 1 and 3 one name, 'liver'",
        ),
        ({1: "background", 2: "liver"}, "gives the label values 0 and 1 one name, 'background'"),
    ],
)
def test_names_that_no_table_of_scores_can_hold_are_refused(names, message):
    classes = decide([0, 1], names=names)
    assert classes.names == ()
    problem = said(classes)["class-name"]
    assert (problem.severity, problem.where) == ("refused", "data")
    assert message in problem.problem
    assert "name" in problem.cure


def _pieces(*counts):
    return [{value: [30] for value in range(1, count + 1)} for count in counts]


def test_numbered_objects_are_suspected_whatever_the_odd_mask_holds():
    (one,) = numbered_objects([*_pieces(3, 12, 20, 7), {5: [30]}, {}], names={}, where="d")
    assert one.severity == "warning"
    assert "in 4 of 5 every value from 1 on is one connected object, 3 to 20 of them" in one.problem
    assert "save 1 wherever there is one" in one.cure


@pytest.mark.parametrize(
    ("cases", "names"),
    [
        (_pieces(13, 13, 12, 13), {}),  # organs: as many in each case
        (_pieces(1, 2, 3), {}),  # few classes, not all in each case
        ([*_pieces(3, 12), {2: [30]}, {9: [30]}], {}),  # values of classes that come alone
        ([{value: [9, 9, 9] for value in range(1, count)} for count in (4, 20)], {}),  # several of each
        (_pieces(3, 12, 20), {1: "bolt"}),  # somebody said what they are
        ([], {}),
    ],
)
def test_classes_are_not_suspected(cases, names):
    assert numbered_objects(cases, names=names, where="d") == []
