"""What a comparison of networks found, as it is kept, and as a table to read."""

from __future__ import annotations

from html import escape

from unetkit.records.figures import NONE, counted, p_value, with_interval
from unetkit.records.markdown import markdown_table
from unetkit.records.plan import Axes
from unetkit.records.saved import Saved
from unetkit.workflows import page


class Mean(Saved):
    """A mean over held-out cases, each averaged over classes and seeds first.

    Args:
        mean: The mean; None where no case has a value.
        low: Lower end of its 95 % bootstrap interval (groups resampled), None with fewer than two groups.
        high: Upper end, None likewise.
        cases: Cases that count.
    """

    mean: float | None
    low: float | None = None
    high: float | None = None
    cases: int = 0


class Against(Mean):
    """A mean difference to the first network, case by case.

    Args:
        p_value: Of the two-sided Wilcoxon signed-rank test.
    """

    p_value: float | None = None


class Compared(Saved):
    """One network.

    Args:
        name: As it was asked for.
        runs: Its runs, one per seed.
        parameters: Weights that can be learned.
        multiply_adds: Of one patch, forward.
        patch: Pixels per axis it was trained on (with the first seed, where they differ).
        batch: Patches per step.
        steps: Steps made, mean over the seeds.
        patches_per_second: While training, median over the journal, mean over the seeds.
        predicted_per_second: Tiles of the patch's size through the network alone, one at a time.
        memory_gb: Of a training step as counted, GB.
        scores: Metric → mean.
        against_first: Metric → difference to the first network; empty for itself.
    """

    name: str
    runs: tuple[str, ...]
    parameters: int
    multiply_adds: int
    patch: Axes
    batch: int
    steps: float
    patches_per_second: float
    predicted_per_second: float
    memory_gb: float
    scores: dict[str, Mean]
    against_first: dict[str, Against]


class Comparison(Saved):
    """``compare.json``.

    Args:
        source: The data set as it was named.
        folder: Where the table and the runs lie.
        seeds: Seeds every network was trained with.
        minutes: Time budget of each training, 0 for none.
        device: What trained.
        networks: In the order asked for.
        unit: What distances are in: ``mm``, ``px``, or ``mm or px``; empty where nothing was measured.
    """

    version: int = 1
    source: str
    folder: str
    seeds: tuple[int, ...]
    minutes: float
    device: str
    networks: tuple[Compared, ...]
    unit: str = ""


_HEAD = (
    "network",
    "Dice",
    "HD95",
    "Dice against the first",
    "p",
    "parameters",
    "multiply-adds",
    "patch × batch",
    "steps",
    "patches/s trained",
    "tiles/s predicted",
    "memory of a step",
)
_SCORES = 5
"""Columns that tell how good a network is, its name among them; the others tell what it costs."""


def head(found: Comparison) -> tuple[str, ...]:
    """The table's column names, lengths with their unit."""
    return tuple(f"{name} ({found.unit})" if name == "HD95" and found.unit else name for name in _HEAD)


def note(found: Comparison) -> str:
    """What was counted, over how many cases."""
    cases = max((one.scores["dice"].cases for one in found.networks), default=0)
    return (
        f"Dice and HD95: mean over {counted(cases, 'held-out case')} [95 % bootstrap interval, groups "
        "resampled]; a case's value is the mean over classes and seeds; a class that only some of them find "
        "where there is none counts as the best value for the others. p: two-sided Wilcoxon signed-rank "
        "test over the same cases, not corrected for the number of networks. Multiply-adds: forward, one "
        "patch. Memory: of one training step, as counted."
    )


def rows(found: Comparison) -> list[tuple[str, ...]]:
    """The table's cells, one row per network, in the order of ``head``."""
    return [
        (
            one.name,
            _mean(one.scores["dice"]),
            _mean(one.scores["hd95"], metric="hd95"),
            _mean(one.against_first["dice"], apart=True) if one.against_first else NONE,
            p_value(one.against_first["dice"].p_value) if one.against_first else NONE,
            f"{one.parameters / 1e6:.2f} M",
            f"{one.multiply_adds / 1e9:.2f} G",
            f"{'×'.join(map(str, one.patch))} × {one.batch}",
            f"{one.steps:.0f}",
            f"{one.patches_per_second:.1f}",
            f"{one.predicted_per_second:.1f}",
            f"{one.memory_gb:.2f} GB",
        )
        for one in found.networks
    ]


def title(found: Comparison) -> str:
    """One line about what was compared."""
    budget = f"{found.minutes:g} minutes" if found.minutes else "the same number of steps"
    seeds = ", ".join(map(str, found.seeds))
    return f"{len(found.networks)} networks on {found.source}, {budget} each on {found.device}, seeds {seeds}"


def as_markdown(found: Comparison) -> str:
    """The table as Markdown."""
    return f"# {title(found)}\n\n{markdown_table(head(found), rows(found))}\n\n{note(found)}\n"


def as_html(found: Comparison) -> str:
    """The table as an offline page, in two parts: no screen is wide enough for it."""
    cells, names = rows(found), head(found)
    scores = page.table(
        names[:_SCORES],
        [(name, *map(page.stacked, row[: _SCORES - 1])) for name, *row in cells],
        numbers=range(1, _SCORES),
    )
    cost = page.table(
        (names[0], *names[_SCORES:]),
        [(row[0], *row[_SCORES:]) for row in cells],
        numbers=range(1, len(names) - _SCORES + 1),
    )
    words = f'<p class="soft">{escape(note(found))}</p>'
    sections = (("Scores on held-out cases", scores + words), ("Size, speed and memory", cost))
    return page.page("Networks compared", title(found), sections)


def _mean(one: Mean, *, metric: str = "dice", apart: bool = False) -> str:
    return with_interval(one.mean, one.low, one.high, metric=metric, apart=apart)
