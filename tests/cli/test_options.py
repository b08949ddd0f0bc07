import pytest

from unetkit.cli.options import changes, fold
from unetkit.errors import UsageError


def test_changes_keep_everything_after_the_first_sign():
    assert changes(["a.b=[1, 2]", "c= x=y "]) == {"a.b": "[1, 2]", "c": "x=y"}
    assert changes(None) == {}


@pytest.mark.parametrize("word", ["steps", "=3", " =3"])
def test_a_change_without_a_key_or_a_sign_is_refused(word):
    with pytest.raises(UsageError, match="has no '='"):
        changes([word])


def test_folds():
    assert fold("2/5") == (2, 5)
    assert fold(None) is None
    for word in ("2", "a/b", "2/", "-1/5", "1.5/5"):
        with pytest.raises(UsageError, match="is no fold"):
            fold(word)
