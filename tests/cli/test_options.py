import inspect

import pytest

from unetkit.cli.options import Data, Planning, Telling, changes, fold, grouped, listed, sizes
from unetkit.errors import UsageError


def test_changes_keep_everything_after_the_first_sign():
    assert changes(["a.b=[1, 2]", "c= x=y "]) == {"a.b": "[1, 2]", "c": "x=y"}
    assert changes(None) == {}


@pytest.mark.parametrize("word", ["steps", "=3", " =3"])
def test_a_change_without_a_key_or_a_sign_is_refused(word):
    with pytest.raises(UsageError, match=f"'--set {word}' has no '='. Do this: write --set key=value"):
        changes([word])
    with pytest.raises(UsageError, match=r"'--try .*' has no '='.* such as inference\.crf_steps=5"):
        changes([word], option="--try")


def test_folds():
    assert fold("2/5") == (2, 5)
    assert fold(None) is None
    for word in ("2", "a/b", "2/", "-1/5", "1.5/5"):
        with pytest.raises(UsageError, match="is no fold"):
            fold(word)


def test_sizes():
    assert sizes(None) == ()
    assert sizes("64, 32") == sizes("64x32") == (64, 32)
    for word in ("", "a,b", "64,-1", "1.5,2"):
        with pytest.raises(UsageError, match="is no patch"):
            sizes(word)
    with pytest.raises(UsageError, match=r"'--image 4k' is no image.*4096x4096 \(width x height\)"):
        sizes("4k", option="--image")


def test_names():
    assert listed(" a, b ,,c") == ["a", "b", "c"]


def test_groups_of_options_become_options_and_arrive_as_groups():
    seen = {}

    def verb(data: Data, *, planning: Planning, telling: Telling) -> None:
        """Do it."""
        seen.update(data=data, planning=planning, telling=telling)

    made = grouped(verb)
    names = list(inspect.signature(made).parameters)
    assert names[:2] == ["data", "network"]
    assert names[-3:] == ["dry_run", "as_json", "quiet"]
    assert (made.__name__, made.__doc__) == ("verb", "Do it.")
    words = {name: one.default for name, one in inspect.signature(made).parameters.items()}
    made(**{**words, "data": "d", "minutes": 3.0, "set_": ["a.b=1"], "quiet": True})
    assert seen["planning"] == Planning(minutes=3.0, set_=["a.b=1"])
    assert seen["telling"] == Telling(quiet=True)
    assert seen["planning"].settings() == {
        "minutes": 3.0, "memory_gb": 0.0, "changes": {"a.b": "1"}, "fold": None, "device": "auto",
        "seed": None, "network": None,
    }  # fmt: skip
