"""``report``: one offline page about a run: what it scored, where it fails, how it learnt, how to use it."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TypeVar

from unetkit.errors import UsageError
from unetkit.networks.card import NOT_A_DEVICE, is_medical
from unetkit.networks.store import SEAL, Seal
from unetkit.records.ensemble import MEMBERS
from unetkit.records.files import write_text
from unetkit.records.fingerprint import Fingerprint
from unetkit.records.kept import UpdateFile
from unetkit.records.manifest import Manifest
from unetkit.records.plan import Plan
from unetkit.records.run import Run
from unetkit.records.saved import Saved
from unetkit.records.scores import Scores
from unetkit.workflows import page
from unetkit.workflows.case_pictures import INDEX, CasePictures, PictureIndex
from unetkit.workflows.cross_validation import as_html, read_cross_validation
from unetkit.workflows.gallery import gallery, in_order
from unetkit.workflows.kept_page import kept_section
from unetkit.workflows.model_folder import is_ensemble
from unetkit.workflows.report_origin import (
    data_facts,
    learning_curves,
    plan_reasons,
    usage,
    versions,
    weights_start,
)
from unetkit.workflows.report_scores import calibration_curves, case_table, class_table, headline
from unetkit.workflows.starting import Start, read_start
from unetkit.workflows.viewer import viewer

_MOST_NAMED = 8
_Kind = TypeVar("_Kind", bound=Saved)


class ReportResult(Saved):
    """Where the page lies.

    Args:
        path: The html file.
        bytes: Its size.
        cases: Cases shown with pictures.
    """

    path: Path
    bytes: int
    cases: int


@dataclass(frozen=True)
class _Material:
    """Everything the page is made from, read once."""

    run: Run
    plan: Plan
    fingerprint: Fingerprint | None
    scores: Scores | None
    manifest: Manifest | None
    start: Start | None
    seal: Seal | None
    kept: UpdateFile | None
    pictures: tuple[CasePictures, ...]

    @property
    def medical(self) -> bool:
        """Whether it was trained on images of a medical format; a run without a model has volumes of one."""
        return is_medical(self.seal.facts) if self.seal else self.plan.data.rank == 3


def report(folder: Path | str, *, out: Path | str | None = None) -> ReportResult:
    """Write the report of a run as one self-contained html file.

    Args:
        folder: The run's folder.
        out: Where to write; ``report.html`` in the run when None.

    Returns:
        Where it lies.

    Raises:
        UsageError: The folder is not a run.
    """
    run = Run(Path(folder))
    if not run.plan.is_file() and not (run.model / "plan.json").is_file():
        raise UsageError(
            "not the folder of a run (there is no plan.json)",
            cure="name the folder given to 'unet train --out'",
            where=run.folder,
        )
    material = _read(run)
    target = Path(out) if out is not None else run.report
    text = _page(material)
    write_text(target, text)
    return ReportResult(path=target, bytes=len(text.encode()), cases=len(material.pictures))


def _read(run: Run) -> _Material:
    index = _record(run.folder / "pictures" / INDEX, PictureIndex)
    fitted = run.model / "plan.json"
    place = run.model / MEMBERS / "0" if is_ensemble(run.model) else run.model  # members are of one data set
    plan = fitted if fitted.is_file() else run.plan
    return _Material(
        run,
        Plan.from_json(plan.read_bytes(), where=plan),
        _record(run.fingerprint, Fingerprint),
        _record(run.model / "scores.json", Scores),
        _record(run.manifest, Manifest),
        read_start(run),
        _record(place / SEAL, Seal),
        _record(run.update, UpdateFile),
        index.cases if index else (),
    )


def _record(path: Path, kind: type[_Kind]) -> _Kind | None:
    return kind.from_json(path.read_bytes(), where=path) if path.is_file() else None


def _page(material: _Material) -> str:
    manifest, run, scores = material.manifest, material.run, material.scores
    when = (
        manifest.created.replace("T", " ").replace("+00:00", " UTC") if manifest else "training not finished"
    )
    data = Path(manifest.source).resolve().name if manifest else "unknown"
    names = material.plan.data.classes
    listed = " and ".join(filter(None, (", ".join(names[1:-1]), names[-1])))
    if len(names) > _MOST_NAMED:
        listed = f"{len(names) - 1} classes"
    ordered = in_order(material.pictures, scores)
    notice = f'<p class="notice"><b>{escape(NOT_A_DEVICE)}</b></p>' if material.medical else ""
    return page.page(
        f"Segmentation of {listed}",
        f"data set {data}, run {run.folder}, {when}",
        (
            ("Scores", class_table(scores)),
            ("Folds", _folds(material)),
            ("Look closer", viewer(run, names, ordered)),
            ("Pictures, worst first", gallery(run, names, ordered)),
            ("Kept and gained", kept_section(material.kept) if material.kept else ""),
            ("Learning", learning_curves(run)),
            ("Start", weights_start(material.start)),
            ("Every case, worst first", case_table(scores)),
            ("Can the confidence be trusted?", calibration_curves(scores)),
            ("Data", data_facts(material.fingerprint)),
            ("Plan and reasons", plan_reasons(material.plan)),
            ("Use the model", usage(run, material.plan)),
            ("Versions and hashes", versions(manifest)),
        ),
        lead=notice + headline(run, scores, manifest),
        scripts=("viewer.js",) if ordered else (),
    )


def _folds(material: _Material) -> str:
    found = read_cross_validation(material.run)
    return "" if found is None else as_html(found, material.scores)
