import resource
import subprocess
import sys

import pytest
import typer

import unetkit.errors as errors
from unetkit.cli import app as door
from unetkit.cli import main

pytestmark = pytest.mark.usefixtures("excepthook")


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.UnetkitError, 1),
        (errors.UsageError, 2),
        (errors.MissingPackageError, 2),
        (errors.DataError, 3),
        (errors.GateError, 4),
        (errors.ResourceError, 5),
        (errors.PreemptedError, 75),
        (errors.InterruptedRunError, 130),
        (KeyboardInterrupt, 130),
    ],
)
def test_every_error_has_its_exit_code(kind, code, monkeypatch, capsys):
    def fail(*_, **__):
        raise kind("it broke", cure="mend it") if issubclass(kind, errors.UnetkitError) else kind()

    monkeypatch.setattr("unetkit.workflows.doctor.doctor", fail)
    assert main(["doctor"]) == code
    told = capsys.readouterr()
    assert told.out == ""
    if issubclass(kind, errors.UnetkitError):
        assert told.err == "error: it broke. Do this: mend it.\n"


def test_memory_that_does_not_suffice_is_no_bug(monkeypatch, capsys):
    def fail(*_, **__):
        raise MemoryError("Unable to allocate 7.45 GiB for an array")

    monkeypatch.setattr("unetkit.workflows.doctor.doctor", fail)
    assert main(["doctor"]) == 5
    told = capsys.readouterr().err
    assert "the memory does not suffice (Unable to allocate 7.45 GiB for an array). Do this: close" in told


def test_with_debug_the_error_is_raised_itself(monkeypatch):
    def fail(*_, **__):
        raise errors.DataError("it broke", cure="mend it")

    monkeypatch.setattr("unetkit.workflows.doctor.doctor", fail)
    with pytest.raises(errors.DataError, match="it broke"):
        main(["doctor", "--debug"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["train", "data", "--minuts", "3"],
            "has no option '--minuts'. Do this: use '--minutes'",
        ),
        (["trian", "data"], "No such command 'trian'. Did you mean 'train'. Do this: read 'unet --help'"),
        (["train"], "Missing argument 'DATA'"),
        (["train", "data", "--minutes", "soon"], "Invalid value for '--minutes'"),
        (["train", "data", "--set", "steps"], "'--set steps' has no '='"),
        (["train", "data", "--fold", "5"], "'--fold 5' is no fold"),
        (["train", "data", "--fold", "5/5"], "there is no fold 5/5"),
    ],
)
def test_wrong_words_get_the_nearest_right_ones_and_exit_2(words, told, capsys):
    assert main(words) == 2
    assert told in capsys.readouterr().err


def test_help_and_version_are_results(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    verbs = ("check", "plan", "train", "predict", "evaluate", "report", "export", "info", "doctor", "demo")
    for verb in verbs:
        assert verb in text
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == "0.1.0"


def test_every_verb_has_json_and_quiet_and_every_writer_has_dry_run(capsys):
    command = typer.main.get_command(door.app)
    verbs = dict(command.commands)
    verbs |= {f"registry {name}": verb for name, verb in verbs.pop("registry").commands.items()}
    at_once = ("registry list", "registry rollback", "registry verify")
    reading = ("info", "models", "doctor", "registry list", "registry verify")
    for name, verb in verbs.items():
        known = {word for each in verb.params for word in each.opts}
        assert "--json" in known, name
        assert name in at_once or "--quiet" in known, name
        assert name in reading or "--dry-run" in known, name


def test_help_loads_nothing_heavy_and_is_quick():
    code = (
        "import sys; from unetkit.cli import main; main(['--help']);"
        "sys.stderr.write(','.join(m for m in ('torch', 'numpy', 'scipy', 'pydantic') if m in sys.modules))"
    )
    spent = []
    while len(spent) < 3 and min(spent, default=1.0) >= 1.0:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert answer.stderr == ""
    # The promise is 0.5 s on an idle core; two busy threads of one core slow each other down.
    assert min(spent) < 1.0


def test_a_bug_is_one_line_and_exit_1():
    code = (
        "import sys, unetkit.workflows.doctor as d\n"
        "def fail(**_): raise ValueError('odd')\n"
        "d.doctor = fail\n"
        "from unetkit.cli import main\n"
        "sys.exit(main(['doctor'] + sys.argv[1:]))"
    )
    short = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert short.returncode == 1
    assert short.stderr.startswith("error: this is a bug in unetkit: ValueError: odd (<string>:2).")
    assert short.stderr.count("\n") == 1
    full = subprocess.run(
        [sys.executable, "-c", code, "--debug"], capture_output=True, text=True, check=False
    )
    assert full.returncode == 1
    assert "Traceback" in full.stderr


def test_completion_knows_the_verbs():
    answer = subprocess.run(
        [sys.executable, "-c", "import sys; from unetkit.cli import main; sys.exit(main())"],
        env={
            "_UNET_COMPLETE": "complete_bash",
            "COMP_WORDS": "unet tr",
            "COMP_CWORD": "1",
            "PATH": "/usr/bin",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.stdout.split() == ["train"]
