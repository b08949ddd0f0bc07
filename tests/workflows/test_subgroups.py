import pytest

from unetkit.errors import DataError, UsageError
from unetkit.metrics.score import summarise
from unetkit.records.scores import CaseScores
from unetkit.workflows.subgroups import UNSTATED, refuse_column, subgroups


@pytest.fixture
def scores():
    """Five cases of four patients."""
    rows = [("a0", "a", 0.9), ("a1", "a", 0.8), ("b", "b", 0.6), ("c", "c", 0.2), ("d", "d", None)]
    cases = [
        CaseScores(
            id=id, group=group, values={"x": {"dice": value, "hd95": 2.0}}, missed=("x",) * (id == "c")
        )
        for id, group, value in rows
    ]
    return summarise(cases, classes=["x"], metrics=["dice", "hd95"], tolerance_mm=1.0, split="held-out")


TABLE = "id,group,Site,scanner\na0,a,north,s1\na1,a,north,s1\nb,b,north,s2\nc,c,south,\n"


def test_each_value_is_summarised_by_itself(scores, tmp_path):
    (tmp_path / "index.csv").write_text(TABLE)
    north, south, rest = subgroups(scores, tmp_path, "site")
    assert [(part.value, part.cases) for part in (north, south, rest)] == [
        ("north", 3), ("south", 1), (UNSTATED, 1),
    ]  # fmt: skip
    assert north.summary["x"]["dice"].mean == pytest.approx((0.9 + 0.8 + 0.6) / 3)
    assert north.summary["mean"]["dice"].low is not None
    assert (south.summary["x"]["dice"].mean, south.summary["x"]["dice"].low) == (0.2, None)
    assert south.summary["x"]["dice"].missed == 1
    assert rest.summary["x"]["dice"].undefined == 1
    everyone = subgroups(scores, tmp_path, "group")
    assert [part.value for part in everyone] == ["a", "b", "c", UNSTATED]
    n = sum(part.summary["x"]["dice"].n for part in everyone)
    assert n == scores.summary["x"]["dice"].n


def test_a_subgroup_of_all_cases_is_the_whole(scores, tmp_path):
    (tmp_path / "index.csv").write_text("id,all\n" + "".join(f"{case.id},yes\n" for case in scores.cases))
    (whole,) = subgroups(scores, tmp_path, "all")
    assert whole.summary == scores.summary


def test_the_file_may_lie_beside_the_labels_be_named_itself_or_name_images(scores, tmp_path):
    labels = tmp_path / "masks"
    labels.mkdir()
    (tmp_path / "index.csv").write_text(TABLE)
    assert subgroups(scores, labels, "scanner") == subgroups(scores, tmp_path / "index.csv", "scanner")
    assert [part.value for part in subgroups(scores, labels, " Scanner ")] == ["s1", "s2", UNSTATED]
    (tmp_path / "other.csv").write_text("image,label,site\nimages/a0.png,masks/a0.png,north\n")
    found = subgroups(scores, tmp_path / "other.csv", "site")
    assert [(part.value, part.cases) for part in found] == [("north", 1), (UNSTATED, 4)]
    (tmp_path / "other.csv").write_text("image,site\nimages/a0.png; images/a0-ir.png,north\n")
    assert subgroups(scores, tmp_path / "other.csv", "site")[0].cases == 1


def test_what_is_missing_is_said(scores, tmp_path):
    with pytest.raises(UsageError, match=r"there is no index\.csv in this folder or beside it"):
        subgroups(scores, tmp_path / "labels", "site")
    (tmp_path / "index.csv").write_text(TABLE)
    with pytest.raises(
        DataError, match=r"no column 'age'\. Do this: name one of its columns: id, group, Site, scanner"
    ):
        subgroups(scores, tmp_path, "age")
    with pytest.raises(DataError, match="no column 'age'"):
        refuse_column(tmp_path, "age")
    refuse_column(tmp_path, " SITE ")
    (tmp_path / "index.csv").write_text("id,site\nz,north\n")
    with pytest.raises(DataError, match="none of the 5 cases is named here, such as 'a0'"):
        subgroups(scores, tmp_path, "site")
