from unetkit.workflows.comparison import (
    Against,
    Compared,
    Comparison,
    Mean,
    as_html,
    as_markdown,
    head,
    rows,
)


def a_network(name, against=None):
    return Compared(
        name=name,
        runs=(f"{name}-seed0",),
        parameters=31_030_000,
        multiply_adds=54_740_000_000,
        patch=(256, 256),
        batch=4,
        steps=120.0,
        patches_per_second=3.21,
        predicted_per_second=12.0,
        memory_gb=1.5,
        scores={"dice": Mean(mean=0.9, low=0.85, high=0.95, cases=9), "hd95": Mean(mean=None)},
        against_first=against or {},
    )


FOUND = Comparison(
    source="cells",
    folder="runs/cells-1",
    seeds=(0, 1),
    minutes=10,
    device="cpu",
    networks=(
        a_network("unet"),
        a_network("a|<b>", {"dice": Against(mean=0.0125, low=-0.01, high=0.04, cases=9, p_value=0.0004)}),
    ),
)


def test_a_row_says_what_was_measured():
    first, second = rows(FOUND)
    assert len(first) == len(head(FOUND))
    assert first == (
        "unet", "0.900 [0.850, 0.950]", "–", "–", "–", "31.03 M", "54.74 G", "256×256 × 4", "120", "3.2",
        "12.0", "1.50 GB",
    )  # fmt: skip
    assert second[3:5] == ("+0.0125 [-0.0100, +0.0400]", "<0.001")


def test_names_cannot_break_the_table():
    text = as_markdown(FOUND)
    assert "| a\\|&lt;b> |" in text
    assert "10 minutes each on cpu, seeds 0, 1" in text
    assert "a|&lt;b&gt;" in as_html(FOUND)
    assert "the same number of steps" in as_markdown(FOUND.model_copy(update={"minutes": 0}))


def test_the_page_has_two_narrow_tables():
    text = as_html(FOUND)
    assert text.count("<table>") == 2
    assert "0.900<br><small>0.850 to 0.950</small>" in text
    shown = text[text.index("<table>") :]
    names = head(FOUND)
    assert [shown.count(f">{name}</th>") for name in names] == [2, *[1] * (len(names) - 1)]


def test_lengths_have_their_unit_and_means_their_n():
    assert "HD95" in head(FOUND)
    pictures = FOUND.model_copy(update={"unit": "px"})
    assert "HD95 (px)" in head(pictures)
    assert '<th class="number">HD95 (px)</th>' in as_html(pictures)
    for text in (as_markdown(FOUND), as_html(FOUND)):
        assert "mean over 9 held-out cases" in text
