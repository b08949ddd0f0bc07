"""Tables of Markdown."""

from unetkit.records.markdown import markdown_table, plain


def test_names_cannot_end_a_row_or_be_markup():
    text = markdown_table(("a", "b"), [("x|y\n| z", "<img>"), ("1", "2")])
    assert text.splitlines() == ["| a | b |", "| --- | --- |", "| x\\|y \\| z | &lt;img> |", "| 1 | 2 |"]
    assert plain("  two\n words ") == "two words"
