import hashlib

from unetkit.records.run import Run
from unetkit.workflows import manifest


def test_what_the_run_wrote_is_hashed(tmp_path):
    run = Run(tmp_path)
    run.plan.write_text("{}")
    run.model.mkdir()
    (run.model / "weights.safetensors").write_bytes(b"w")
    made = manifest.write_manifest(
        run,
        source=tmp_path,
        seed=3,
        device="cpu",
        threads=2,
        layout="float32",
        data={"a": "b"},
        seconds={"x": 1.26},
    )
    assert made.files == {
        "plan.json": hashlib.sha256(b"{}").hexdigest(),
        "model/weights.safetensors": hashlib.sha256(b"w").hexdigest(),
    }
    assert made.seconds == {"x": 1.3}
    assert made.threads == 2
    assert made.peak_memory_mb > 1
    assert manifest.Manifest.from_json(run.manifest.read_bytes(), where=run.manifest) == made


def test_the_command_is_kept_when_there_was_one(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/x/bin/unet", "train", "data"])
    made = manifest.write_manifest(
        Run(tmp_path), source=tmp_path, seed=0, device="cpu", threads=1, layout="", data={}, seconds={}
    )
    assert made.command == ("unet", "train", "data")


def test_absent_packages_are_left_out():
    assert list(manifest.package_versions(("numpy", "no-such-package"))) == ["numpy"]
