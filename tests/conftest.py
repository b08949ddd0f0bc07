"""What several rooms of tests share: tiny data sets, and one tiny trained run per number of axes."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import settings
from jaxtyping import config, install_import_hook

install_import_hook(
    ("unetkit.losses", "unetkit.networks"),
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)
"""Shapes and types of these rooms are enforced in every test; an int is a float, as for a type checker."""

settings.register_profile("gate", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile("gate")
"""The gate says the same of the same code, on a busy machine too; ``make soak`` searches on, at random."""

UNCOUNTED = {Path(__file__).parent / folder for folder in ("benchmarks", "contracts", "house", "journeys")}
"""Coverage counts what the rooms' own tests reach."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out of the count what walks through the whole house, and what runs a hundred times over.

    Counting costs property tests most, and what they reach a plain test of their room reaches too.
    """
    for item in items:
        many = getattr(getattr(item, "function", None), "is_hypothesis_test", False)
        if many or not UNCOUNTED.isdisjoint(item.path.parents):
            item.add_marker("no_cover")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    """Give torch the same random numbers in every test, whatever ran before it: no test hangs on luck."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


TINY = {
    "training.steps": "6",
    "training.batch_size": "2",
    "training.patch_size": "[32,32]",
    "training.validate_cases": "2",
    "network.widths": "[4,8]",
    "network.blocks": "[1,1]",
    "network.decoder_blocks": "[1]",
    "network.kernels": "[[3,3],[3,3]]",
    "network.strides": "[[1,1],[2,2]]",
    "network.deep_supervision": "1",
    "inference.tile_size": "[32,32]",
}
"""The smallest training there is, as ``--set`` takes it."""

TINY_VOLUME = {
    **TINY,
    "training.patch_size": "[8,16,16]",
    "network.kernels": "[[3,3,3],[3,3,3]]",
    "network.strides": "[[1,1,1],[2,2,2]]",
    "inference.tile_size": "[8,16,16]",
}


def set_options(changes: dict[str, str]) -> list[str]:
    """The same as words of a command."""
    return [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture(scope="session")
def tiny() -> dict[str, str]:
    """Changes that make any training on pictures tiny."""
    return dict(TINY)


@pytest.fixture(scope="session")
def tiny_words() -> list[str]:
    """The same for a command line."""
    return set_options(TINY)


@pytest.fixture(scope="session")
def tiny_volume_words() -> list[str]:
    """The same for volumes."""
    return set_options(TINY_VOLUME)


@pytest.fixture(scope="session")
def wafers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve small pictures of three wafers, with masks."""
    from unetkit.workflows.wafers import make_wafers

    folder = tmp_path_factory.mktemp("wafers")
    make_wafers(folder, wafers=3, size=64)
    return folder


@pytest.fixture(scope="session")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small volumes in nnU-Net's layout, anisotropic and rotated, one bright ball in each."""
    from unetkit.data.formats import format_of
    from unetkit.records.case import Grid

    folder = tmp_path_factory.mktemp("volumes")
    (folder / "imagesTr").mkdir()
    (folder / "labelsTr").mkdir()
    grid = Grid((2.0, 1.0, 1.0), (5.0, -3.0, 7.0), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))
    for number in range(6):
        random = np.random.default_rng(number)
        z, y, x = np.mgrid[:12, :20, :22]
        centre = random.uniform((4, 7, 7), (8, 13, 15))
        ball = (2 * (z - centre[0])) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 < 25
        pixels = (random.normal(100, 10, ball.shape) + 60 * ball).clip(0, 255).astype(np.uint8)
        name = f"case{number}.nii.gz"
        for path, array in (
            (folder / "imagesTr" / name.replace(".nii", "_0000.nii"), pixels),
            (folder / "labelsTr" / name, ball.astype(np.uint8)),
        ):
            format_of(path).write(path, array, grid)
    facts = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "ball": 1}, "numTraining": 6}
    (folder / "dataset.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture(scope="session")
def finished(wafers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on ``wafers``; read it, do not change it."""
    from unetkit.workflows.train import train

    folder = tmp_path_factory.mktemp("runs") / "finished"
    train(wafers, folder, changes=TINY, fold=(0, 3))
    return folder


@pytest.fixture(scope="session")
def nested(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder for the pictures of ``wafers``, of two nested levels; it has learned nothing."""
    from unetkit.networks.store import read_plan, save_model
    from unetkit.networks.unet import build
    from unetkit.records.plan import NetworkPlan

    network = NetworkPlan(
        decoder="unetpp",
        widths=(4, 4, 8),
        blocks=(1, 1, 1),
        decoder_blocks=(1, 1),
        kernels=((3, 3),) * 3,
        strides=((1, 1), (2, 2), (2, 2)),
        deep_supervision=2,
    )
    plan = read_plan(finished / "model").model_copy(update={"network": network})
    folder = tmp_path_factory.mktemp("models") / "nested"
    facts = {"device": "cpu", "precision": "float32", "memory format": "contiguous"}
    save_model(folder, build(network, rank=2, in_channels=1, classes=4), plan, facts=facts)
    return folder


@pytest.fixture(scope="session")
def quick() -> dict[str, str]:
    """Changes that make a training on pictures tiny and the same every time: nothing is timed."""
    exact = {"training.precision": "float32", "training.memory_format": "contiguous"}
    return {**TINY, **exact, "training.steps": "3", "training.validate_cases": "0"}


@pytest.fixture(scope="session")
def validated(wafers: Path, quick: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-validation of three folds on ``wafers``; read it, do not change it."""
    from unetkit.workflows.cross_validate import cross_validate

    folder = tmp_path_factory.mktemp("folds") / "validated"
    cross_validate(wafers, folder, folds=3, changes=quick)
    return folder


def _unseen(work: Callable[..., object]) -> Callable[..., object]:
    def worked(*given: object, **named: object) -> object:
        seen_by = sys.gettrace()
        sys.settrace(None)
        try:
            return work(*given, **named)
        finally:
            sys.settrace(seen_by)

    return worked


@pytest.fixture(scope="session", autouse=True)
def unseen_exporters() -> Iterator[None]:
    """Coverage looks away while torch exports, which under its eye takes three times as long."""
    with pytest.MonkeyPatch.context() as patch:
        if sys.gettrace() is not None:
            import torch

            for room in (torch.export, torch.onnx):
                patch.setattr(room, "export", _unseen(room.export))
        yield


@contextmanager
def _unchecked() -> Iterator[None]:
    config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", False)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Compilers and exporters cannot look through the checks of shapes that are wrapped around functions."""
    with _unchecked():
        yield


@pytest.fixture(scope="session")
def without_checks() -> Callable[[], AbstractContextManager[None]]:
    """The same for fixtures that live longer."""
    return _unchecked


@pytest.fixture(scope="session")
def exported(finished: Path, wafers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of ``finished`` for onnxruntime, compared on ``wafers``; read it, do not change it."""
    for package in ("onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    from unetkit.workflows.export import export

    folder = tmp_path_factory.mktemp("exported") / "onnx"
    with _unchecked():
        export(finished, "onnx", folder, data=wafers)
    return folder


@pytest.fixture(scope="session")
def write_series() -> Callable[..., list[Path]]:
    """A function that writes planes as a DICOM series, one file each; made with pydicom alone."""
    pytest.importorskip("pydicom", reason="pydicom is not installed")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    def write(folder: Path, stored: np.ndarray, **stated: object) -> list[Path]:
        """Write ``(slices, rows, columns)``; ``stated`` holds tags, and the words popped below."""
        folder.mkdir(parents=True, exist_ok=True)
        across, down = (
            np.array(stated.pop(name, axis), float)
            for name, axis in (("across", (1, 0, 0)), ("down", (0, 1, 0)))
        )
        origin = np.array(stated.pop("origin", (0, 0, 0)), float)
        step = np.array(stated.pop("step", np.cross(across, down) * 2), float)
        syntax = stated.pop("syntax", ExplicitVRLittleEndian)
        study, series, frame = generate_uid(), generate_uid(), generate_uid()
        paths = []
        for number, plane in enumerate(stored):
            meta = FileMetaDataset()
            meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
            meta.TransferSyntaxUID = ExplicitVRLittleEndian
            ds = FileDataset("x", {}, file_meta=meta, preamble=bytes(128))
            ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
            ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
            ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "CT", 1, number + 1
            ds.PatientName, ds.PatientID, ds.StudyID = "Canary^Yellow", "CANARY-4711", "1"
            ds.StudyDate, ds.StudyTime, ds.PatientBirthDate, ds.PatientSex = "20200101", "120000", "", ""
            ds.AccessionNumber, ds.ReferringPhysicianName = "", "Canary^Doctor"
            ds.ImagePositionPatient = [f"{v:.9g}" for v in origin + number * step]
            ds.ImageOrientationPatient = [f"{v:.9g}" for v in (*across, *down)]
            ds.PixelSpacing, ds.SliceThickness = list(stated.get("PixelSpacing", (0.5, 0.7))), 9
            ds.Rows, ds.Columns, ds.SamplesPerPixel = plane.shape[0], plane.shape[1], 1
            ds.PhotometricInterpretation = "MONOCHROME2"
            bits = plane.dtype.itemsize * 8
            ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, bits, bits - 1
            ds.PixelRepresentation = int(plane.dtype.kind == "i")
            for name, value in stated.items():
                setattr(
                    ds,
                    name,
                    value[number] if isinstance(value, list) and name.startswith("Rescale") else value,
                )
            ds.PixelData = plane.tobytes() + b"\0" * (plane.nbytes % 2)
            ds["PixelData"].VR = "OW" if bits > 8 else "OB"
            if syntax != ExplicitVRLittleEndian:
                ds.compress(syntax)
            # names tell nothing of the order: it must come from the positions
            paths.append(folder / f"{(number * 7) % 97:02d}.dcm")
            ds.save_as(paths[-1], enforce_file_format=True)
        return paths

    return write


@pytest.fixture
def excepthook() -> Iterator[None]:
    """Put back what ``cli.main`` changes."""
    before = sys.excepthook
    yield
    sys.excepthook = before


@pytest.fixture(scope="session")
def beside() -> Callable[[str], ModuleType]:
    """A function that imports a file which lies among the tests and is none, by its path; each file once."""

    @cache
    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(Path(name).stem, Path(__file__).parent / name)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def small(beside: Callable[[str], ModuleType]) -> ModuleType:
    """A small training, step by step."""
    return beside("training/small_run.py")


@pytest.fixture(scope="session")
def slides(beside: Callable[[str], ModuleType]) -> ModuleType:
    """Writers of whole-slide images."""
    return beside("slide_files.py")


@pytest.fixture
def openslide(slides: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in for openslide, which reads what ``slides.write_stand_in`` wrote."""
    module = slides.stand_in()
    monkeypatch.setitem(sys.modules, "openslide", module)
    return module
