from __future__ import annotations

import json
import resource

import pytest
import torch

from unetkit.errors import DataError, ResourceError
from unetkit.training import checkpoint
from unetkit.training.checkpoint import Checkpoints, discard, read, seconds_spent, write


def tensors(value: float) -> dict[str, torch.Tensor]:
    wide = torch.full((2, 3, 4, 4), value).to(memory_format=torch.channels_last)
    return {"wide": wide, "count": torch.tensor(7), "half": torch.tensor([value], dtype=torch.bfloat16)}


def flip(path, position: int = -3) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0b100
    path.write_bytes(data)


def test_what_is_written_is_what_is_read(tmp_path):
    write(tmp_path, "last", tensors(0.1), {"step": 5, "best": None, "seconds": 0.1 + 0.2})
    found = read(tmp_path, "last")
    assert found.numbers == {"step": 5, "best": None, "seconds": 0.1 + 0.2}
    assert found.refused == ()
    for name, tensor in tensors(0.1).items():
        assert torch.equal(found.tensors[name], tensor)
        assert found.tensors[name].dtype == tensor.dtype


def test_two_generations_are_kept_and_older_ones_swept(tmp_path):
    for step in range(5):
        write(tmp_path, "last", tensors(step), {"step": step})
        write(tmp_path, "best", tensors(-step), {"step": step})
    names = sorted(path.name[:13] for path in tmp_path.glob("*.safetensors"))
    assert names == ["best-00000003", "best-00000004", "last-00000003", "last-00000004"]
    assert read(tmp_path, "last").numbers["step"] == 4


def test_the_same_state_written_twice_is_one_file(tmp_path):
    first = write(tmp_path, "last", tensors(1), {"step": 1, "judged": 0})
    second = write(tmp_path, "last", tensors(1), {"step": 1, "judged": 1})
    assert first == second
    assert read(tmp_path, "last").numbers["judged"] == 1


@pytest.mark.parametrize("position", [-1, -3, 3, 20])
def test_a_flipped_bit_is_refused_and_the_one_before_is_used(tmp_path, position):
    write(tmp_path, "last", tensors(1), {"step": 1})
    flip(write(tmp_path, "last", tensors(2), {"step": 2}), position)
    found = read(tmp_path, "last")
    assert found.numbers["step"] == 1
    assert torch.equal(found.tensors["wide"], tensors(1)["wide"])
    assert "its SHA-256 does not match" in found.refused[0]


def test_a_changed_number_in_the_pointer_is_refused_too(tmp_path):
    write(tmp_path, "last", tensors(1), {"step": 1})
    write(tmp_path, "last", tensors(2), {"step": 2})
    pointer = tmp_path / "last.json"
    pointer.write_text(pointer.read_text().replace('"step": 2', '"step": 3'))
    assert read(tmp_path, "last").numbers["step"] == 1
    pointer.write_text("{ torn")
    assert "is not valid JSON" in read(tmp_path, "last").refused[0]
    pointer.unlink()
    assert read(tmp_path, "last").numbers["step"] == 1


def test_nothing_intact_is_an_error_that_names_every_file(tmp_path):
    one = write(tmp_path, "last", tensors(1), {"step": 1})
    two = write(tmp_path, "last", tensors(2), {"step": 2})
    flip(one)
    two.unlink()
    with pytest.raises(DataError, match=r"no intact resume point is left.*start the run anew") as caught:
        read(tmp_path, "last")
    assert two.name + ": is missing" in caught.value.problem
    assert one.name in caught.value.problem


def test_nothing_there_is_no_error(tmp_path):
    assert read(tmp_path, "last") is None
    assert read(tmp_path / "nowhere", "last") is None


def test_a_pointer_cannot_lead_out_of_the_folder(tmp_path):
    inside = tmp_path / "checkpoints"
    outside = write(tmp_path, "last", tensors(1), {"step": 1})
    record = json.loads((tmp_path / "last.json").read_text())
    record["tensors"] = f"../{outside.name}"
    record["check"] = checkpoint._check(record)
    inside.mkdir()
    (inside / "last.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="is missing"):
        read(inside, "last")


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_death_at_any_moment_of_writing_leaves_a_readable_state(tmp_path, monkeypatch, stage):
    """Stages: while writing tensors, before the pointer's copy, before the pointer."""
    write(tmp_path, "last", tensors(1), {"step": 1})
    write(tmp_path, "last", tensors(2), {"step": 2})
    left = [stage]

    def dying(real):
        def act(*arguments):
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            return real(*arguments)

        return act

    monkeypatch.setattr(checkpoint, "atomic", dying(checkpoint.atomic))
    monkeypatch.setattr(checkpoint, "write_text", dying(checkpoint.write_text))
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, "last", tensors(3), {"step": 3})
    found = read(tmp_path, "last")
    assert (found.numbers["step"], found.refused) == (2, ())


def test_a_full_disk_leaves_what_was_there(tmp_path):
    write(tmp_path, "last", tensors(1), {"step": 1})
    before = sorted(path.name for path in tmp_path.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(
            ResourceError, match=r"no room left to write this file.*what was saved before is intact"
        ):
            write(tmp_path, "last", {"big": torch.zeros(5000)}, {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert read(tmp_path, "last").numbers["step"] == 1


def test_discard_leaves_other_files_alone(tmp_path):
    write(tmp_path, "last", tensors(1), {"step": 1})
    write(tmp_path, "best", tensors(1), {"step": 1})
    (tmp_path / "notes.json").write_text("{}")
    discard(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.json"]
    discard(tmp_path / "nowhere")


def test_when_a_resume_point_is_due(run, monkeypatch):
    by_steps = Checkpoints(run, 4)
    assert [step for step in range(1, 13) if by_steps.due(step)] == [4, 8, 12]
    now = [1000.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    by_clock = Checkpoints(run, 0)
    now[0] += 59
    assert not by_clock.due(1)
    now[0] += 1
    assert by_clock.due(1)
    by_clock.seconds = 3.0  # a slow disk: at most one part in fifty of the time goes into saving
    assert not by_clock.due(1)
    now[0] += 90
    assert by_clock.due(1)


def test_seconds_spent_is_what_the_run_knows(run):
    assert seconds_spent(run) == 0.0
    write(run.checkpoints, "last", tensors(1), {"step": 1, "seconds": 12.5})
    assert seconds_spent(run) == 12.5
