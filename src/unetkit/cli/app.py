"""The ``unet`` command: the verbs are elsewhere; here, in one place, an error becomes an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Annotated, Any

import typer

from unetkit.cli import about, assess, build, compress, convert, deploy, keep
from unetkit.cli.console import close_displays, complain
from unetkit.errors import ResourceError, UnetkitError, UsageError, nearest

app = typer.Typer(
    name="unet",
    help="From a folder of labelled images or volumes to a planned, trained, measured U-Net.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 ok · 1 bug · 2 usage · 3 data refused · 4 gate not met · "
    "5 disk, memory or device · 75 stopped, can be resumed · 130 Ctrl-C.",
)
for verb in (
    convert.convert,
    assess.check,
    build.plan,
    build.train,
    build.ensemble,
    keep.monitor,
    keep.update,
    assess.predict,
    assess.screen,
    assess.evaluate,
    assess.report,
    deploy.export,
    deploy.bench,
    compress.compress,
    about.info,
    about.models,
    about.doctor,
    build.demo,
):
    app.command()(verb)
app.add_typer(keep.registry, name="registry")

# Newer Typers carry their own copy of Click; the public exception leads to the right one in both cases.
_Wrong: Any = typer.BadParameter.__mro__[2]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("unetkit"))
        raise typer.Exit


@app.callback()
def _everywhere(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Nothing to do: ``--version`` has answered, and ``main`` has taken ``--debug`` off the line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after ``unet``; those of the process when None.

    Returns:
        The exit code: 0 ok, 1 bug, 2 usage, 3 data refused, 4 gate not met, 5 resources, 75 stopped and
        resumable, 130 Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not debug:
        sys.excepthook = _bug
    try:
        answer = typer.main.get_command(app).main(args=words, prog_name="unet", standalone_mode=False)
    except UnetkitError as wrong:
        if debug:
            raise
        complain(str(wrong))
        return wrong.exit_code
    except _Wrong as wrong:
        complain(_usage(wrong))
        return int(wrong.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        complain("stopped by Ctrl-C; finished files are whole, and a training continues with --resume")
        return 130
    except MemoryError as wrong:
        if debug:
            raise
        complain(str(_memory(wrong)))
        return ResourceError.exit_code
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has left (``unet … | head``): not an error of ours
        return 0
    finally:
        close_displays()
    return answer if isinstance(answer, int) else 0


def _memory(wrong: MemoryError) -> ResourceError:
    """Word the end of the memory where nobody had foreseen it; numpy says what did not fit."""
    return ResourceError(
        f"the memory does not suffice ({str(wrong) or 'nothing more could be allocated'})",
        cure="close other programs or take a machine with more memory; large images stay in their files as "
        "TIFF or OME-Zarr, and --memory makes a training smaller",
    )


def _usage(wrong: Any) -> str:  # noqa: ANN401 - Click's exception, whichever Click it is
    """Word an error of the command line our way: what is wrong, the nearest right word, where to read."""
    context = getattr(wrong, "ctx", None)
    path = context.command_path if context is not None else "unet"
    option = getattr(wrong, "option_name", None)
    if option is not None and context is not None:
        known = [name for each in context.command.params for name in getattr(each, "opts", ())]
        dashed = [name for name in known if name.startswith("--")]
        return str(UsageError(f"'{path}' has no option '{option}'", cure=nearest(str(option), dashed)))
    message = str(wrong.format_message()).rstrip(".? ")
    return f"{message}. Do this: read '{path} --help'." if message else f"Do this: read '{path} --help'."


def _bug(kind: type[BaseException], wrong: BaseException, trace: TracebackType | None) -> None:
    """Answer an error nobody foresaw in one line; Python itself then exits with 1."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "?"
    complain(
        f"this is a bug in unetkit: {kind.__name__}: {wrong} ({place}). "
        "Do this: run the same command with --debug and report what it prints."
    )
