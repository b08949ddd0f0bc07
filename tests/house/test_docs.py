"""Every Python block of the README and the docs runs, every `unet` command in them exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
VERBS = {"check", "plan", "train", "predict", "evaluate", "report", "info", "doctor", "demo"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_named_in_a_page_exist(page: Path):
    for verb in re.findall(r"^(?:\$ )?unet ([a-z]+)", page.read_text(), flags=re.MULTILINE):
        assert verb in VERBS, f"{page.name} names 'unet {verb}'"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
