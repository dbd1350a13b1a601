"""Rules name figures that the stages of their campaign give, in their unit; others are refused where they stand."""

from pathlib import Path

import pytest

from labctl.core.errors import BenchError
from labctl.station import composition
from labctl.station.declared_figures import described

EXAMPLES = Path(__file__).parents[4] / "examples"


def refusal(**given: str) -> str:
    """Return what the example campaign is refused with."""
    with pytest.raises(BenchError) as refused:
        composition.read(EXAMPLES / "wine-passive.yaml", given)
    return str(refused.value)


@pytest.mark.parametrize(
    ("when", "text"),
    [
        ("rp > 3 kohm", "there is no figure 'rp'; did you mean 'r_p'?"),
        ("accuracy < 90 %", "there is no figure 'accuracy'; did you mean 'accuracy_"),
        (
            "colour < 90 %",
            "there is no figure 'colour'; expected one that a stage gives. The stages of this campaign give r_p",
        ),
        ("seconds > 30 s", "there is no figure 'seconds'"),
        ("r_p > 3", "'3' has no unit; expected a quantity in ohm, such as \"2.4 kohm\""),
        ("fidelity < 90", "'90' has no unit, and write fidelity is shown in %; expected such as '90 %'"),
        ("fidelity < 0.98", "'0.98' has no unit, and write fidelity is shown in %; expected such as '98 %'"),
        ("fidelity < 2", "'2' has no unit, and write fidelity is shown in %; expected such as '2 %'"),
        ("r_p > 3 V", "'V' is not a unit of ohm"),
        ("good < 90 % and r_p[60 nm] > 3 kohm", "there is no figure 'r_p[60 nm]'; did you mean 'r_p'?"),
    ],
)
def test_a_figure_that_no_stage_gives_is_refused_with_its_line(when: str, text: str) -> None:
    message = refusal(bins=f"[{{bin: odd, hard: 9, when: '{when}'}}]")
    assert text in message
    assert "bins.0.when" in message


def test_a_comparison_that_is_none_is_named_as_such() -> None:
    message = refusal(bins="[{bin: odd, hard: 9, when: 'good <> 90'}]")
    assert "'good <> 90' is no comparison; expected <, <=, > or >=" in message


@pytest.mark.parametrize(("join", "named"), [("or", "or"), ("&&", "&&"), ("AND", "AND")])
def test_comparisons_that_are_joined_otherwise_than_by_and_are_refused_by_that_word(join: str, named: str) -> None:
    message = refusal(bins=f"[{{bin: odd, hard: 9, when: 'good < 90 % {join} tmr < 60 %'}}]")
    assert f"has '{named}' in it; comparisons are joined by 'and'" in message


def test_where_kernels_differ_a_rule_names_the_size(tmp_path: Path) -> None:
    die = (EXAMPLES / "dies" / "passive-15x15.yaml").read_text(encoding="utf-8")
    sized = die.replace("diameter: 80 nm", "kernel_diameters: [60 nm, 100 nm]")
    assert sized != die
    (tmp_path / "die.yaml").write_text(sized, encoding="utf-8")
    dies = f"[{{name: A, file: {tmp_path / 'die.yaml'}}}]"
    message = refusal(dies=dies, bins="[{bin: odd, hard: 9, when: 'r_p > 3 kohm'}]")
    assert "did you mean 'r_p[60 nm]' or 'r_p[100 nm]'? The kernels of the dies differ in diameter." in message
    rule = "[{bin: odd, hard: 9, when: 'r_p[60 nm] > 9 kohm or'}]".replace(" or", "")
    spec = composition.read(EXAMPLES / "wine-passive.yaml", {"dies": dies, "bins": rule})
    assert spec.bins[0].when == "r_p[60 nm] > 9 kohm"


def test_a_golden_die_drifts_in_a_figure_of_its_visit() -> None:
    golden = "batch.golden"
    message = refusal(**{golden: "{die: D55, every: 2, drift: {v_switch: 5 %}}"})
    assert "there is no figure 'v_switch'" in message
    assert "A visit gives r_p, r_ap, tmr, contact, touches; 'measure: survey', which pulses cells" in message
    assert "batch.golden.drift.v_switch" in message
    message = refusal(**{golden: "{die: D55, every: 2, measure: survey, drift: {fidelity: 5 %}}"})
    assert "there is no figure 'fidelity'" in message


def test_a_run_says_what_it_declares() -> None:
    spec = composition.read(EXAMPLES / "wine-passive.yaml")
    meta = described(spec.stages)
    keys = [figure["key"] for figure in meta["figures"]]
    assert keys[:3] == ["r_p", "r_ap", "tmr"]
    assert keys[-3:] == ["contact", "touches", "seconds"]
    assert meta["pictures"][0]["kind"] == "cell_map"
