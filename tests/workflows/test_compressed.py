from unetkit.compression.parity import CaseChange, Change
from unetkit.compression.sensitivity import Sensitivity, Tried
from unetkit.workflows.compressed import (
    Compressed,
    Size,
    Step,
    as_html,
    as_markdown,
    change_rows,
    cut_rows,
    size_rows,
    step_rows,
    still_good,
    title,
    tried_rows,
)


def size(factor: int, seconds: float | None) -> Size:
    return Size(
        widths=(8 * factor, 16 * factor),
        decoder_widths=(),
        parameters=1_000_000 * factor**2,
        multiply_adds=2_000_000_000 * factor**2,
        weights_bytes=4_000_000 * factor**2,
        memory_bytes=6_000_000 * factor,
        seconds_per_tile=seconds,
    )


def made(*, passed: bool = True) -> Compressed:
    dice = Change(before=0.9, after=0.88, mean=-0.02, low=-0.03, high=-0.01, p_value=0.25, cases=3)
    hd95 = Change(before=4.0, after=5.5, mean=1.5, low=None, high=None, p_value=None, cases=3)
    return Compressed(
        model="run/model",
        source="data",
        folder="small",
        stages=("taught to mobile", "50 % of the channels cut"),
        asked={"stages": [{"stage": "Pruning", "share": 0.5}]},
        max_loss=0.5,
        passed=passed,
        device="cpu",
        split="held-out",
        before=size(2, 0.008),
        after=size(1, 0.004),
        changes={"hole|pit": {"dice": dice, "hd95": hd95}},
        worst=(CaseChange(id="case-7", before=0.9, after=0.5),),
        unit="px",
    )


def test_the_cells_say_what_was_found():
    found = made()
    rows = {row[0]: row[1:] for row in size_rows(found.before, found.after)}
    assert rows["parameters"] == ("4 M", "1 M", "4.00 ×")
    assert rows["multiply-adds"] == ("8 G", "2 G", "4.00 ×")
    assert rows["weights"] == ("16 MB", "4 MB", "4.00 ×")
    assert rows["memory of a tile"] == ("12 MB", "6 MB", "2.00 ×")
    assert rows["time per tile"] == ("8 ms", "4 ms", "2.00 ×")
    assert rows["widths"] == ("16 32", "8 16", "")
    assert change_rows(found) == [
        ("hole|pit", "Dice", "0.900", "0.880", "-0.0200 [-0.0300, -0.0100]", "0.250", "3"),
        ("hole|pit", "HD95 (px)", "4.00", "5.50", "+1.50", "–", "3"),
    ]


def test_times_that_were_not_taken_are_not_shown():
    assert "time per tile" not in {row[0] for row in size_rows(size(2, None), size(1, None))}


def test_the_page_holds_both_tables_and_the_verdict():
    assert "NOT within" in title(made(passed=False))
    text = as_markdown(made())
    assert text.startswith(
        "# run/model, taught to mobile, then 50 % of the channels cut: within a loss of 0.5 points"
    )
    assert "| hole\\|pit | Dice | 0.900 |" in text
    assert "| case-7 | 0.900 | 0.500 |" in text


def test_the_page_is_offline_and_escapes():
    text = as_html(made(), "<table>pictures</table>")
    assert "hole|pit" in text
    assert "<table>pictures</table>" in text
    assert "http://" not in text
    assert "https://" not in text
    assert "Cases that lost most" not in as_html(made(), "")


def test_it_is_kept_whole():
    assert Compressed.from_json(made().to_json(), where="compress.json") == made()


def on_the_way(*losses: float | None) -> Compressed:
    steps = [Step(name="before", size=size(4, 0.016), dice=0.9, loss=0.0)]
    for number, loss in enumerate(losses, start=1):
        dice = None if loss is None else 0.9 - loss / 100
        steps.append(Step(name=f"round {number}", size=size(4 - number, 0.01 / number), dice=dice, loss=loss))
    row = Sensitivity(stage=2, share=0.5, widths={"widths.1": 8}, loss=1.25, cost=0.8)
    tried = tuple(
        Tried(widths=(8 * wide, 16), decoder_widths=(8,) * (wide == 1), value=value, unit="ms", dice=dice)
        for wide, value, dice in ((2, 8.0, 0.9), (1, 3.0, 0.4), (1, 4.125, 0.75))
    )
    return made().model_copy(update={"steps": tuple(steps), "sensitivities": (row,), "tried": tried})


def test_models_on_the_way_are_shown_with_a_chart():
    found = on_the_way(0.2, 3.0)
    assert step_rows(found)[1] == ("round 1", "24 48", "9 M", "36 MB", "10 ms", "0.898", "0.20")
    assert cut_rows(found) == [("2", "50 %", "1.25", "80.0 %")]
    text, shown = as_markdown(found), as_html(found, "")
    assert "## On the way" in text
    assert "## Stages cut alone" in text
    assert "<svg" in shown
    assert "Dice against time per tile" in shown
    assert "Dice before training against ms per tile" in shown
    assert "| 8 16 | 8 | 4.12 ms | 0.7500 |" in text
    assert [row[2] for row in tried_rows(found)] == ["8 ms", "4.12 ms", "3 ms"]
    assert tried_rows(found)[0] == ("16 16", "as the encoder", "8 ms", "0.9000")
    for plain in (as_markdown(made()), as_html(made(), "")):
        assert "Widths that were tried" not in plain
        assert "On the way" not in plain
        assert "Stages cut alone" not in plain
    assert Compressed.from_json(found.to_json(), where="") == found


def test_the_smallest_that_is_still_good_is_named():
    assert still_good(on_the_way(0.2, 3.0)) == "'round 1' (9 M, 36 MB, 10 ms) lost 0.20"
    assert still_good(on_the_way(0.2, 0.4)) == "'round 2' (4 M, 16 MB, 5 ms) lost 0.40"
    assert still_good(on_the_way(3.0, None)) == ""
