"""What a comparison of networks found, as it is kept, and as a table to read."""

from __future__ import annotations

from html import escape

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
    """

    version: int = 1
    source: str
    folder: str
    seeds: tuple[int, ...]
    minutes: float
    device: str
    networks: tuple[Compared, ...]


HEAD = (
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
NOTE = (
    "Dice and HD95: mean over held-out cases [95 % bootstrap interval, groups resampled]; a case's value is "
    "the mean over classes and seeds. p: two-sided Wilcoxon signed-rank test over the same cases, not "
    "corrected for the number of networks. Multiply-adds: forward, one patch."
)


def rows(found: Comparison) -> list[tuple[str, ...]]:
    """The table's cells, one row per network, in the order of ``HEAD``."""
    return [
        (
            one.name,
            _mean(one.scores["dice"]),
            _mean(one.scores["hd95"], digits=2),
            _mean(one.against_first["dice"], sign=True) if one.against_first else "–",
            p_words(one.against_first["dice"].p_value) if one.against_first else "–",
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
    lines = (HEAD, ("---",) * len(HEAD), *rows(found))
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return f"# {title(found)}\n\n{table}\n\n{NOTE}\n"


def as_html(found: Comparison) -> str:
    """The table as an offline page, in two parts: no screen is wide enough for it."""
    cells, note = rows(found), f'<p class="soft">{escape(NOTE)}</p>'
    scores = page.table(
        HEAD[:_SCORES],
        [(name, *map(page.stacked, row[: _SCORES - 1])) for name, *row in cells],
        numbers=range(1, _SCORES),
    )
    cost = page.table(
        (HEAD[0], *HEAD[_SCORES:]),
        [(row[0], *row[_SCORES:]) for row in cells],
        numbers=range(1, len(HEAD) - _SCORES + 1),
    )
    sections = (("Scores on held-out cases", scores + note), ("Size, speed and memory", cost))
    return page.page("Networks compared", title(found), sections)


def _mean(one: Mean, *, digits: int = 4, sign: bool = False) -> str:
    if one.mean is None:
        return "–"
    kind = f"{'+' if sign else ''}.{digits}f"
    ends = (
        "" if one.low is None or one.high is None else f" [{format(one.low, kind)}, {format(one.high, kind)}]"
    )
    return f"{format(one.mean, kind)}{ends}"


def p_words(value: float | None) -> str:
    """A p value as a table shows it.

    Example:
        >>> p_words(0.0312), p_words(1e-9), p_words(None)
        ('0.031', '<0.001', '–')
    """
    return "–" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"
