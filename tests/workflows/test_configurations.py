"""Which runs go together: the same cases unseen, the same classes, the same pictures."""

from __future__ import annotations

import json
import shutil

import pytest

from unetkit.data.catalog import find_cases
from unetkit.data.inspect import inspect
from unetkit.errors import DataError, UsageError
from unetkit.records.files import sha256
from unetkit.workflows.configurations import folds_of, read_configurations


def edited(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_a_cross_validation_is_one_configuration(validated, wafers):
    (one,) = read_configurations([validated])
    assert one.name == "validated"
    assert [part.trained.folder.name for part in one.parts] == ["fold-0", "fold-1", "fold-2"]
    folds = folds_of([one], inspect(find_cases(wafers)), wafers)
    ids = [case.id for fold in folds for case in fold.cases]
    assert len(ids) == len(set(ids)) == 12
    for number, fold in enumerate(folds):
        assert fold.models == (validated / f"fold-{number}" / "model",)
        assert (len(fold.cases), fold.trained_on) == (4, 8)
        split = json.loads((validated / f"fold-{number}" / "split.json").read_text())
        assert [case.id for case in fold.cases] == split["held_out"]
        assert not {case.group for case in fold.cases} & {id.split("-")[0] for id in split["train"]}


def test_folds_made_one_by_one_are_one_configuration_too(validated):
    (one,) = read_configurations([validated / f"fold-{number}" for number in (2, 0, 1)])
    assert one.name == "fold-2, fold-0, fold-1"
    assert len(one.parts) == 3


def test_runs_over_the_same_fold_stand_side_by_side(validated, finished):
    one, other = read_configurations([finished, validated / "fold-0"])
    assert (one.name, other.name) == ("finished", "fold-0")
    assert one.parts[0].held_out == other.parts[0].held_out


def test_folds_are_put_in_the_order_of_the_first(validated, tmp_path):
    other = shutil.copytree(validated, tmp_path / "other")
    edited(other / "cross_validation.json", lambda record: record["folds"].reverse())
    first, second = read_configurations([validated, other])
    assert [part.held_out for part in first.parts] == [part.held_out for part in second.parts]
    assert [part.trained.folder.name for part in second.parts] == ["fold-0", "fold-1", "fold-2"]


def test_names_that_do_not_tell_runs_apart_become_paths(validated, tmp_path):
    other = shutil.copytree(validated, tmp_path / "validated")
    names = [one.name for one in read_configurations([validated, other])]
    assert names == [str(validated), str(other)]


def test_what_does_not_go_together(validated, finished, tmp_path, wafers):
    with pytest.raises(UsageError, match="no run was named"):
        read_configurations([])
    with pytest.raises(UsageError, match="a run was named twice"):
        read_configurations([finished, finished / ".." / "finished"])
    with pytest.raises(UsageError, match="there is no finished run here"):
        read_configurations([tmp_path])
    with pytest.raises(UsageError, match="'finished' and 'validated' held out different cases"):
        read_configurations([validated, finished])
    with pytest.raises(UsageError, match="held out different cases"):
        read_configurations([finished, validated / "fold-0", validated / "fold-1"])
    run = shutil.copytree(finished, tmp_path / "run")
    edited(run / "split.json", lambda split: split.update(held_out=[]))
    with pytest.raises(UsageError, match="this run held no case out"):
        read_configurations([run])
    (run / "manifest.json").unlink()
    with pytest.raises(UsageError, match="there is no finished run here"):
        read_configurations([run])


def test_other_pictures_and_other_classes_are_refused(validated, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    held = json.loads((run / "split.json").read_text())["held_out"]
    edited(run / "split.json", lambda split: split["digests"].update({held[1]: "0"}))
    with pytest.raises(DataError, match=f"'{held[1]}' was another picture to"):
        read_configurations([validated / "fold-0", run])
    shutil.rmtree(run)
    shutil.copytree(finished, run)
    edited(run / "model" / "plan.json", lambda plan: plan["data"].update(label_values=[0, 1, 2, 9]))
    edited(
        run / "model" / "model.json",
        lambda seal: seal.update(plan_sha256=sha256(run / "model" / "plan.json")),
    )
    with pytest.raises(UsageError, match=r"expected label_values .* as in .*fold-0', got \(0, 1, 2, 9\)"):
        read_configurations([validated / "fold-0", run])


def test_data_that_has_changed_is_refused(validated, wafers, tmp_path):
    data = shutil.copytree(wafers, tmp_path / "data")
    read = read_configurations([validated])
    assert len(folds_of(read, inspect(find_cases(data)), data)) == 3
    shutil.copy(data / "images" / "wafer00-0.png", data / "images" / "wafer01-1.png")
    with pytest.raises(DataError, match=r"the data is not what this run was started with .*'wafer01-1'"):
        folds_of(read, inspect(find_cases(data)), data)


def test_parts_of_one_image_are_not_put_together(validated, wafers, tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        shutil.copy(wafers / kind / "wafer00-0.png", tmp_path / kind)
    with pytest.raises(DataError, match="a single image was cut in parts"):
        folds_of(read_configurations([validated]), inspect(find_cases(tmp_path)), tmp_path)
