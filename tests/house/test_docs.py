"""The README and the docs run: every block of the tutorials, every verb and option named anywhere."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from unetkit.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
RUN = [ROOT / "README.md", *sorted((ROOT / "docs" / "tutorials").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
VERBS = ("check", "plan", "train", "predict", "evaluate", "report", "export", "compress", "update")
VERBS += ("bench", "convert", "ensemble", "screen", "monitor", "registry", "info", "models", "doctor", "demo")

pytestmark = pytest.mark.usefixtures("excepthook")


def commands(page: Path) -> list[list[str]]:
    """The `unet` commands of a page, as words."""
    blocks = [text for kind, text in BLOCK.findall(page.read_text()) if kind != "python"]
    return [shlex.split(line) for text in blocks for line in text.splitlines() if line.startswith("unet ")]


@pytest.fixture(scope="module")
def help_texts() -> dict[str, str]:
    """What each verb says of itself."""
    import typer

    from unetkit.cli.app import app

    group = typer.main.get_command(app)
    texts = {}
    for verb in VERBS:
        command = group.commands[verb]  # pyright: ignore[reportAttributeAccessIssue]
        inner = getattr(command, "commands", {}).values()  # a verb with verbs of its own
        params = [each for one in (command, *inner) for each in one.params]
        texts[verb] = " ".join(name for each in params for name in (*each.opts, *each.secondary_opts))
    return texts


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_verbs_and_options_named_in_a_page_exist(page: Path, help_texts: dict[str, str]):
    for _, verb, *words in commands(page):
        if verb.startswith("--"):
            continue
        for word in words:
            if word.startswith("-"):
                assert word in help_texts[verb].split(), f"{page.name} names 'unet {verb} {word}'"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_page_of_its_own_that_is_found_from_the_first_one(verb: str):
    (page,) = [
        page
        for page in (ROOT / "docs" / "how-to").glob("*.md")
        if re.search(rf"unet {verb}\b", page.read_text().partition("\n")[0])
    ]
    assert f"](how-to/{page.name})" in (ROOT / "docs" / "index.md").read_text()
    assert re.search(rf"`(unet )?{verb}`", (ROOT / "README.md").read_text())


def test_no_verb_is_forgotten():
    import typer

    from unetkit.cli.app import app

    named = typer.main.get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]
    assert sorted(VERBS) == sorted(named)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_every_block_of_a_page_runs(
    page: Path, wafers: Path, tiny: dict, tiny_words: list, tiny_volume_words: list, tmp_path, monkeypatch
):
    """As it stands, from top to bottom in one folder; only the minutes become a handful of steps."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(wafers, tmp_path / "data")
    shutil.copytree(wafers / "images", tmp_path / "new_images")
    first = next((wafers / "images").iterdir())
    Image.open(first).save(tmp_path / "x.png")
    names: dict[str, object] = {"TINY": tiny}
    for kind, text in BLOCK.findall(page.read_text()):
        if kind == "python":
            exec(re.sub(r"minutes=\d+", "changes=TINY", text), names)
            continue
        for line in text.splitlines():
            if not line.startswith("unet "):
                continue
            words = shlex.split(line)[1:]
            if words[0] == "train":
                at = words.index("--minutes")
                words[at : at + 2] = tiny_volume_words if words[1] == "scans" else tiny_words
            assert main([*words, "--quiet"]) == 0, line


def test_the_design_page_says_which_families_are_open():
    from unetkit.workflows.info import TABLES, info

    section = (ROOT / "docs" / "design.md").read_text().split("## Adding a part")[1]
    opened, _, closed = section.partition("still closed")
    named = {name for name in re.findall(r"`(\w+)`", opened) if name != "unet"}
    assert named == set(TABLES)
    assert {name for name in info().families if f"`{name}`" in closed} == {"format", "metric"}
