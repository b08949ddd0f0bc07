"""Options that several verbs share, and how their words become values."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict, get_type_hints

import typer

from unetkit.errors import UsageError

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr but errors.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Write nothing; say what would be written.")]
Device = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 … auto takes a GPU if there is one.")
]
Minutes = Annotated[float, typer.Option("--minutes", min=0.0, help="Time budget in minutes; 0 for none.")]
Memory = Annotated[float, typer.Option("--memory", min=0.0, help="Memory budget in GB; 0 for none.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Set a value of the plan, such as training.steps=500; repeatable."
    ),
]
SetOfInference = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set a value of the plan's inference, such as inference.overlap_fraction=0.25; repeatable.",
    ),
]
Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA", help="Folder with images/ and masks/ (or imagesTr/, labelsTr/), or a CSV."
    ),
]
Tta = Annotated[
    bool, typer.Option("--tta", help="Average over mirrored images: slower, often a little better.")
]


Fold = Annotated[
    str | None,
    typer.Option(
        "--fold",
        metavar="K/N",
        help="Hold out part K (from 0) of N; 0/5 by default. With 'train', all/5 holds out each in turn.",
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Of every random number; 0 by default.")]
Network = Annotated[
    str | None,
    typer.Option(
        "--network",
        metavar="NAME",
        help="Fit this network to the budgets: a name of 'unet models', or several joined by +.",
    ),
]


_SIZED = {"--patch": "256,256", "--image": "4096x4096 (width x height), or depth x height x width"}
_SUCH_AS = {"--set": "training.steps=500", "--try": "inference.crf_steps=5"}


class PlanWords(TypedDict):
    """``workflows.train.PlanSettings`` as this door fills it."""

    minutes: float
    memory_gb: float
    changes: dict[str, str]
    fold: tuple[int, int] | None
    device: str
    seed: int | None
    network: str | None


@dataclass(frozen=True)
class Planning:
    """What may be asked of a plan."""

    network: Network = None
    minutes: Minutes = 0.0
    memory: Memory = 0.0
    set_: Set = None
    fold: Fold = None
    device: Device = "auto"
    seed: Seed = None

    def settings(self) -> PlanWords:
        """The same as settings of a workflow."""
        return {
            "minutes": self.minutes,
            "memory_gb": self.memory,
            "changes": changes(self.set_),
            "fold": fold(self.fold),
            "device": self.device,
            "seed": self.seed,
            "network": self.network,
        }


@dataclass(frozen=True)
class Telling:
    """How a verb answers."""

    dry_run: DryRun = False
    as_json: Json = False
    quiet: Quiet = False


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Let a verb take groups of options: each field of a dataclass becomes an option of its own.

    Args:
        command: A function of which some parameters are annotated with a dataclass.
    """
    given = inspect.signature(command, eval_str=True).parameters
    groups: dict[str, type[Any]] = {
        name: one.annotation
        for name, one in given.items()
        if isinstance(one.annotation, type) and is_dataclass(one.annotation)
    }
    flat: list[inspect.Parameter] = []
    for name, one in given.items():
        if name not in groups:
            flat.append(one.replace(kind=one.KEYWORD_ONLY))
            continue
        hints = get_type_hints(groups[name], include_extras=True)
        flat += [
            inspect.Parameter(
                field.name, one.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
            )
            for field in fields(groups[name])
        ]

    def verb(**words: Any) -> None:  # noqa: ANN401 - whatever the options are
        built = {
            name: group(**{field.name: words.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**words, **built)

    verb.__name__, verb.__doc__ = command.__name__, command.__doc__
    verb.__signature__ = inspect.Signature(flat)  # pyright: ignore[reportFunctionMemberAccess]
    verb.__annotations__ = {one.name: one.annotation for one in flat}
    return verb


def sizes(word: str | None, *, option: str = "--patch") -> tuple[int, ...]:
    """``"256,256"`` or ``"256x256"`` as ``(256, 256)``; nothing as ``()``.

    Args:
        word: As it was given.
        option: What it was given with, such as ``--image``.

    Raises:
        UsageError: It is not of that form.

    Example:
        >>> sizes("64x64x32")
        (64, 64, 32)
    """
    parts = [part.strip() for part in (word or "").replace("x", ",").split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts) or (word is not None and not parts):
        noun = option.removeprefix("--")
        raise UsageError(
            f"'{option} {word}' is no {noun}", cure=f"write one number per axis, such as {_SIZED[option]}"
        )
    return tuple(int(part) for part in parts)


def listed(word: str) -> list[str]:
    """``"a,b"`` as ``["a", "b"]``.

    Example:
        >>> listed("unet_2015, residual")
        ['unet_2015', 'residual']
    """
    return [part.strip() for part in word.split(",") if part.strip()]


def changes(words: list[str] | None, *, option: str = "--set") -> dict[str, str]:
    """``["training.steps=500"]`` as a table.

    Args:
        words: As they were given.
        option: What they were given with.

    Raises:
        UsageError: A word has no ``=``.

    Example:
        >>> changes(["training.steps=500"])
        {'training.steps': '500'}
    """
    table: dict[str, str] = {}
    for word in words or []:
        key, sign, value = word.partition("=")
        if not sign or not key.strip():
            raise UsageError(
                f"'{option} {word}' has no '='", cure=f"write {option} key=value, such as {_SUCH_AS[option]}"
            )
        table[key.strip()] = value.strip()
    return table


def every_fold(word: str | None) -> int | None:
    """``"all/5"`` as ``5``; None for anything else.

    Example:
        >>> every_fold("all/5"), every_fold("0/5"), every_fold(None)
        (5, None, None)
    """
    number, _, count = (word or "").partition("/")
    return int(count) if number.strip() == "all" and count.strip().isdecimal() else None


def fold(word: str | None) -> tuple[int, int] | None:
    """``"0/5"`` as ``(0, 5)``.

    Raises:
        UsageError: It is not of that form.

    Example:
        >>> fold("0/5")
        (0, 5)
    """
    if word is None:
        return None
    number, sign, count = word.partition("/")
    if not (sign and number.strip().isdecimal() and count.strip().isdecimal()):
        raise UsageError(
            f"'--fold {word}' is no fold",
            cure="write --fold k/n with k counted from 0, such as 0/5; train also takes all/5",
        )
    return int(number), int(count)
