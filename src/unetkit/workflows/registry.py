"""A registry of models: a folder with versions, one of them live, and a log that shows any tampering."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unetkit.data.matching import listed
from unetkit.errors import DataError, GateError, UsageError
from unetkit.networks.store import describe
from unetkit.records.chain import START, Link, append_link, read_chain
from unetkit.records.files import atomic, disk_error, sha256, sweep, sync_folder, write_text
from unetkit.records.progress import Progress, Quiet
from unetkit.records.registered import (
    ADDED,
    GOLDEN,
    LIVE,
    LOG,
    NOTE,
    PROMOTED,
    REFUSED,
    ROLLED_BACK,
    VERSIONS,
    Decision,
    LiveFile,
    NoteFile,
    Published,
    Verified,
    Version,
    golden_digests,
    lives,
    numbers,
    stages,
    switches,
    version_folder,
)
from unetkit.records.run import Run
from unetkit.workflows.lineage import data_digest, digest_of, parent_of
from unetkit.workflows.model_folder import trained_folder
from unetkit.workflows.promotion import MARGIN, Asked, asked_sets, compare_set, decide
from unetkit.workflows.run_folder import held
from unetkit.workflows.seen import relation
from unetkit.workflows.tampering import UNFINISHED, check_version, is_behind, orphans, tampered


class Registry:
    """Versions of a model in a folder; the folder itself stands for the live one wherever a model is named.

    Everything is a fact of the log, which is written first; ``live.json`` follows it by one rename. A folder
    of a version appears by a rename and never changes. A process that is killed anywhere leaves the versions
    and the live model whole, and the next command that writes finishes or undoes what was begun.

    Args:
        folder: Where; made by the first ``add``.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def add(self, model: str | Path) -> Version:
        """Copy a model into the registry, as a candidate.

        Args:
            model: A model folder, or a run that holds one; its run says what it was trained on and from.

        Raises:
            DataError: The model is damaged, or the registry was tampered with.
            UsageError: There is no model, or the folder holds something else than a registry.
            ResourceError: The disk is full or may not be written; the registry is as it was.
        """
        source = trained_folder(model)
        self._refuse_other()
        described = describe(source)
        with self._writing() as links:
            number = 1 + sum(link.event == ADDED for link in links)
            run = Run(source.parent)
            parent = parent_of(run, links)
            after = links[-1].hash if links else START
            files = self._copy(source, NoteFile(number=number, after=after))
            if files.get("weights.safetensors") != described.seal.weights_sha256:
                _discard(self._versions / f"{UNFINISHED}{number:04d}")
                raise DataError(
                    "these weights are not the ones that were saved (SHA-256 differs)",
                    cure="copy the model folder anew from where it was made, or train again",
                    where=source,
                )
            summary = described.scores.summary if described.scores else {}
            dice = {name: row["dice"].mean for name, row in summary.items() if "dice" in row}
            facts: dict[str, Any] = {
                "version": number,
                "files": files,
                "source": str(source),
                "parent": parent,
                "dice": {name: value for name, value in dice.items() if value is not None},
                "data_sha256": data_digest(run),
            }
            self._appear(number)
            append_link(self._log, ADDED, facts)
        return self.versions()[number - 1]

    def versions(self) -> tuple[Version, ...]:
        """Every version, the oldest first.

        Raises:
            DataError: The log was tampered with.
        """
        links = self._links()
        known = stages(links)
        found = []
        for link in links:
            if link.event == ADDED:
                facts = {key: value for key, value in link.facts.items() if key != "version"}
                number = link.facts["version"]
                folder = str(version_folder(self.folder, number))
                stage = known[number]
                found.append(Version(number=number, stage=stage, added=link.time, folder=folder, **facts))
        return tuple(found)

    def promote(
        self,
        number: int,
        *,
        golden: Sequence[str | Path] = (),
        must_find: Sequence[str | Path] = (),
        margin: float = MARGIN,
        device: str = "auto",
        dry_run: bool = False,
        judged: Callable[[Decision], None] | None = None,
        progress: Progress | None = None,
    ) -> Decision:
        """Let a version take the place of the live one, if it is worse on no golden set and better on one.

        Every golden set that was ever named is asked, and must be what it was.

        Args:
            number: The version.
            golden: Further golden sets; they are remembered.
            must_find: Further sets in which no object may be missed that the live model finds; likewise.
            margin: Dice that the version may be lower on a golden set and still count as not worse.
            device: Where to compute.
            dry_run: Decide, and write nothing.
            judged: Called with the decision, also where it is a refusal.
            progress: Who watches.

        Raises:
            GateError: It does not pass; the log says why, and what is live stays so.
            UsageError: There is no such version, it is live already, or no golden set was ever named.
            DataError: A golden set has changed, the version was trained on a new one, or the registry was
                tampered with.
        """
        watch = progress or Quiet()
        self._links()
        with self._writing(dry_run=dry_run) as links:
            check_version(self.folder, number, links)
            stack = lives(links)
            live = stack[-1] if stack else None
            if live == number:
                raise UsageError(f"version {number} is live already", cure="name another", where=self.folder)
            if live is not None:
                check_version(self.folder, live, links)
            sets = asked_sets(golden, must_find, links)
            decision, contents = self._decided(number, live, sets, margin, (device, watch))
            facts = {"version": number, "decision": decision.model_dump(mode="json")}
            if not dry_run:
                known = golden_digests(links)
                for source, digest in contents.items():
                    if known.get(source) != digest:
                        new = {"source": source, "contents": digest, "must_find": sets[source].must_find}
                        append_link(self._log, GOLDEN, new)
                if not decision.refused:
                    self._switch(append_link(self._log, PROMOTED, facts))
                else:
                    append_link(self._log, REFUSED, facts)
        if judged is not None:
            judged(decision)
        if decision.refused:
            raise GateError(
                f"version {number} may not go live: {'; '.join(decision.refused)}",
                cure="improve it, or look at these cases with 'unet evaluate'",
                where=self.folder,
            )
        return decision

    def rollback(self, *, dry_run: bool = False) -> Version:
        """Make live what was live before.

        Args:
            dry_run: Say which it would be, and write nothing.

        Returns:
            What is live now.

        Raises:
            UsageError: Nothing was live before.
            DataError: The registry was tampered with.
        """
        self._links()
        with self._writing(dry_run=dry_run) as links:
            stack = lives(links)
            if len(stack) < 2:
                raise UsageError(
                    "there is nothing to go back to: no version was live before this one",
                    cure="promote another version",
                    where=self.folder,
                )
            *_, before, now = stack
            check_version(self.folder, before, links)
            if not dry_run:
                self._switch(append_link(self._log, ROLLED_BACK, {"version": before, "instead_of": now}))
        return self.versions()[before - 1]

    def verify(self, *, head: str | None = None) -> Verified:
        """Compare every hash; nothing is changed.

        Args:
            head: A hash that was the log's last one at some time, kept elsewhere.

        Raises:
            DataError: Something was changed, taken away or put in.
            UsageError: There is no registry.
        """
        links = self._links()
        if head is not None and head not in {link.hash for link in links}:
            raise tampered("the line with this hash is no longer in it: it was cut or replaced", self._log)
        for number in numbers(links):
            check_version(self.folder, number, links)
        unfinished = [f"{path.name}: a version that was never added" for path in orphans(self.folder, links)]
        if is_behind(self.folder, links):
            unfinished.append(f"{LIVE} is one step behind the log")
        stack = lives(links)
        return Verified(
            versions=len(numbers(links)),
            lines=len(links),
            head=links[-1].hash,
            live=stack[-1] if stack else None,
            unfinished=tuple(unfinished),
        )

    def publish(self, uri: str, *, name: str, progress: Progress | None = None) -> Published:
        """Copy every version into MLflow's registry, and let its alias ``live`` say what is live here.

        Args:
            uri: MLflow's server or store, such as ``http://host:5000`` or ``sqlite:///mlflow.db``.
            name: Of the registered model there.
            progress: Who watches.

        Raises:
            DataError: This registry was tampered with, or MLflow has other models under this name.
            MissingPackageError: mlflow is not installed.
            ResourceError: MLflow refuses, or does not answer.
        """
        from unetkit.workflows.mirror import publish

        self.verify()
        return publish(self.versions(), lives(self._links()), uri, name, progress=progress or Quiet())

    def _refuse_other(self) -> None:
        """Refuse to make a registry of a folder that is something else, or that lost its log."""
        if self._log.is_file() or not self.folder.is_dir():
            return
        if (self.folder / LIVE).is_file():
            raise tampered("its log is gone", self._log)
        inside = (path.name for path in self.folder.iterdir() if not path.name.startswith("."))
        if other := sorted({*inside} - {VERSIONS}):
            raise UsageError(
                f"this folder is no registry: it holds {listed(other)}",
                cure="name a registry, or a new folder for one",
                where=self.folder,
            )

    def _links(self) -> tuple[Link, ...]:
        """The log of a registry that is there."""
        if not self._log.is_file():
            raise UsageError(
                "there is no registry here", cure="make one with 'unet registry add'", where=self.folder
            )
        return read_chain(self._log)

    @property
    def _log(self) -> Path:
        return self.folder / LOG

    @property
    def _versions(self) -> Path:
        return self.folder / VERSIONS

    @contextmanager
    def _writing(self, *, dry_run: bool = False) -> Iterator[tuple[Link, ...]]:
        """Hold the registry, and make good what a killed command left."""
        if dry_run:
            yield read_chain(self._log)
            return
        with held(self.folder):
            links = read_chain(self._log)
            left = orphans(self.folder, links)
            try:
                for path in left:
                    _discard(path)
                if self._versions.is_dir():
                    for path in self._versions.glob(f"{UNFINISHED}*"):
                        shutil.rmtree(path)
                sweep(self.folder)
            except OSError as wrong:
                raise disk_error(wrong, self.folder) from wrong
            if is_behind(self.folder, links):
                self._switch(switches(links)[-1])
            yield links

    def _decided(
        self,
        number: int,
        live: int | None,
        sets: dict[str, Asked],
        margin: float,
        how: tuple[str, Progress],
    ) -> tuple[Decision, dict[str, str]]:
        """Score both versions on every golden set; the decision, and the hash of each set's cases."""
        from unetkit.workflows.forgetting import golden_sets, score_golden
        from unetkit.workflows.model import load
        from unetkit.workflows.proposal import OBJECTS, PLAIN

        device, watch = how
        models = [
            load(version_folder(self.folder, each), device=device)
            for each in (number, live)
            if each is not None
        ]
        candidate, *others = models
        data, least = candidate.plan.data, (others or models)[0].plan.data
        same = data.classes[: len(least.classes)], data.label_values[: len(least.classes)]
        if same != (least.classes, least.label_values):
            raise DataError(
                f"version {number} has the classes {', '.join(data.classes)}, the live one "
                f"{', '.join(least.classes)}",
                cure="begin another registry for other classes; new ones come behind the old",
                where=self.folder,
            )
        results, contents = [], {}
        for golden in golden_sets([Path(source) for source in sets], data, progress=watch):
            content = digest_of(golden.contents)
            source = str(golden.source)
            asked = sets[source]
            if asked.contents not in ("", content):
                raise DataError(
                    "this golden set is not what it was: images or labels have changed",
                    cure="put it back, or begin another registry with the new set",
                    where=source,
                )
            if not asked.contents and relation(candidate.folder, golden.digests) == "training":
                raise DataError(
                    f"version {number} was trained on images of this set, which therefore cannot judge it",
                    cure="name cases with --golden that no model is trained on; this set is not remembered",
                    where=source,
                )
            contents[source] = content
            measures = OBJECTS if asked.must_find else PLAIN
            scores = [score_golden(model, golden, measures=measures, progress=watch) for model in models]
            live_scores = scores[1] if others else None
            results.append(
                compare_set(golden.name, scores[0], live_scores, margin=margin, must_find=asked.must_find)
            )
        return decide(number, live, results, margin=margin), contents

    def _copy(self, source: Path, note: NoteFile) -> dict[str, str]:
        """Copy a model's files to where no reader looks; their hashes."""
        part = self._versions / f"{UNFINISHED}{note.number:04d}"
        for path in sorted(source.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                with path.open("rb") as original, atomic(part / path.name) as copy:
                    shutil.copyfileobj(original, copy)
        write_text(part / NOTE, note.to_json())
        return {path.name: sha256(path) for path in sorted(part.iterdir())}

    def _appear(self, number: int) -> None:
        """The copied files become a version by one rename."""
        try:
            (self._versions / f"{UNFINISHED}{number:04d}").rename(version_folder(self.folder, number))
            sync_folder(self._versions)
            sync_folder(self.folder)
        except OSError as wrong:
            raise disk_error(wrong, self._versions) from wrong

    def _switch(self, link: Link) -> None:
        """Readers see what the log says, from one moment to the next."""
        file = LiveFile(number=link.facts["version"], record=link.hash)
        write_text(self.folder / LIVE, file.to_json())


def _discard(path: Path) -> None:
    """Remove a version's folder, from where nobody takes what is left of it for a version."""
    if not path.name.startswith(UNFINISHED):
        path = path.rename(path.with_name(f"{UNFINISHED}{path.name}"))
    shutil.rmtree(path)
