"""What counts as done: the same model, settings, images and labels as then."""

import json

import numpy as np
import pytest
from PIL import Image

from unetkit.errors import UsageError
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.workflows.batch import JOURNAL, Batch, work_of
from unetkit.workflows.model import load
from unetkit.workflows.predict import predict


@pytest.fixture
def folder(wafers, tmp_path):
    """Three pictures."""
    (tmp_path / "in").mkdir()
    for path in sorted((wafers / "images").iterdir())[:3]:
        (tmp_path / "in" / path.name).write_bytes(path.read_bytes())
    return tmp_path / "in"


def test_a_note_is_found_as_long_as_nothing_changed(tmp_path):
    image, label = tmp_path / "a.png", tmp_path / "out" / "a.png"
    label.parent.mkdir()
    image.write_bytes(b"image")
    label.write_bytes(b"label")
    Batch(label.parent, "one").note([image], label, {"x": 1})
    assert Batch(label.parent, "one").find([image], label) == {"x": 1}
    assert Batch(label.parent, "two").find([image], label) is None
    assert Batch(label.parent, "one").find([image, image], label) is None
    with (label.parent / JOURNAL).open("a") as file:
        file.write('{"event": "predic')  # a kill
    assert Batch(label.parent, "one").find([image], label) == {"x": 1}
    Batch(label.parent, "one").note([image], tmp_path / "out" / "b.png", {"x": 2})
    assert len((label.parent / JOURNAL).read_text().splitlines()) == 3
    label.write_bytes(b"labels")
    assert Batch(label.parent, "one").find([image], label) is None
    label.unlink()
    assert Batch(label.parent, "one").find([image], label) is None


def test_the_work_depends_on_the_model_the_plan_and_what_was_asked(tmp_path):
    plan = Plan.model_validate(EXAMPLE)
    one = work_of(tmp_path, plan, {}, device="cpu")
    assert one == work_of(tmp_path, plan, {"tta": False, "changes": {}}, device="cpu")
    found = {
        work_of(tmp_path, plan, {name: True}, device="cpu")
        for name in ("tta", "probabilities", "uncertainty")
    }
    found.add(work_of(tmp_path, plan, {}, device="cuda"))
    found.add(work_of(tmp_path, plan.with_values({"inference.skip_tiles": "empty"}), {}, device="cpu"))
    (tmp_path / "model.json").write_text("{}")
    found.add(work_of(tmp_path, plan, {}, device="cpu"))
    assert len({one, *found}) == 7


def test_a_batch_that_was_stopped_goes_on_and_ends_as_an_unstopped_one(
    finished, folder, tmp_path, monkeypatch
):
    model, out = load(finished), tmp_path / "out"
    run, seen = model.predictor.runtime.run, []

    def stopping(batch):
        seen.append(1)
        if len(seen) > 2:
            raise KeyboardInterrupt
        return run(batch)

    model.predictor.inference = model.predictor.inference.model_copy(update={"whole_image_pixels": 10**9})
    monkeypatch.setattr(model.predictor.runtime, "run", stopping)
    with pytest.raises(KeyboardInterrupt):
        predict(model, folder, out)
    names = sorted(path.name for path in folder.iterdir())
    assert sorted(path.name for path in out.iterdir()) == [JOURNAL, *names[:2]]
    monkeypatch.undo()
    planned = predict(model, folder, out, resume=True, dry_run=True)
    assert [path.name for path in planned.planned] == names[2:]
    rest = predict(model, folder, out, resume=True)
    assert [row.path.name for row in rest.kept] == names[:2]
    assert [row.path.name for row in rest.written] == names[2:]
    whole = predict(model, folder, tmp_path / "whole")
    assert not whole.kept
    for name, row in zip(names, (*rest.kept, *rest.written), strict=True):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
        assert row.pixels == next(one for one in whole.written if one.path.name == name).pixels
    again = predict(model, folder, out, resume=True)
    assert (len(again.kept), len(again.written)) == (3, 0)


def test_what_changed_is_predicted_again(finished, folder, tmp_path):
    model, out = load(finished), tmp_path / "out"
    predict(model, folder, out)
    names = sorted(path.name for path in folder.iterdir())
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(folder / names[0])
    (out / names[1]).unlink()
    some = predict(model, folder, out, resume=True)
    assert [row.path.name for row in some.written] == names[:2]
    other = predict(model, folder, out, resume=True, tta=True)
    assert len(other.written) == 3
    changed = predict(model, folder, out, resume=True, changes={"inference.overlap_fraction": "0.25"})
    assert len(changed.written) == 3
    fresh = predict(model, folder, out)
    assert len(fresh.written) == 3
    events = [json.loads(line) for line in (out / JOURNAL).read_text().splitlines()]
    assert len(events) == 3  # a batch that begins anew forgets the others


def test_a_refused_image_is_tried_again_and_one_image_alone_needs_no_journal(finished, folder, tmp_path):
    model, out = load(finished), tmp_path / "out"
    broken = sorted(folder.iterdir())[1]
    whole = broken.read_bytes()
    broken.write_bytes(whole[:100])
    assert len(predict(model, folder, out).refused) == 1
    broken.write_bytes(whole)
    rest = predict(model, folder, out, resume=True)
    assert (len(rest.kept), [row.id for row in rest.written]) == (2, [broken.stem])
    predict(model, broken, tmp_path / "one")
    assert [path.name for path in (tmp_path / "one").iterdir()] == [broken.name]


def test_only_values_of_the_inference_can_be_set(finished, folder, tmp_path):
    for key in ("training.steps", "inference.runtime"):
        with pytest.raises(UsageError, match=f"'{key}' was decided when the model was made"):
            predict(load(finished), folder, tmp_path / "out", changes={key: "7"})
    with pytest.raises(UsageError, match=r"the plan has no key 'inference\.pyramid'"):
        predict(finished, folder, tmp_path / "out", changes={"inference.pyramid": "2"})
    assert not (tmp_path / "out").exists()
