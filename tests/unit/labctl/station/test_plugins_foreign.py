"""Protocols of other distributions that are wrong: they are named, and are no fault of this suite."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from labctl.core import plugins
from labctl.core.errors import BenchError
from labctl.core.plugins import PROTOCOLS, Plugin
from labctl.core.procedure import Procedure
from labctl.core.units import Volt
from labctl.station import composition, registry
from labctl.station import plugins as ours

CAMPAIGN = """name: c
dies: [{name: A, file: die.yaml}]
limits: {v_towards_p: 700 mV, v_towards_ap: 700 mV, width: 10 ms, compliance: 10 mA, v_count: 350 mV,
         pulses_per_cell: 1000}
stages: [survey: {}]
"""


class Odd(Procedure):
    """A protocol that is right."""

    name: ClassVar[str] = "odd"

    def run(self, die: Any, history: Any) -> Any:
        """Do nothing."""
        yield from ()


def raising(*_: Any) -> Any:
    raise KeyError("A")


@pytest.mark.parametrize(
    ("what", "value", "words"),
    [
        ("for_die", raising, "KeyError: 'A'"),
        ("for_die", lambda self, name: None, "TypeError: for_die gives None, expected a Procedure"),
        ("settings_data", raising, "KeyError: 'A'"),
        ("settings_data", lambda self: {"a": np.zeros(2)}, "TypeError: Object of type ndarray"),
    ],
)
def test_what_a_stranger_raises_while_a_campaign_is_read_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, value: Any, words: str
) -> None:
    (tmp_path / "die.yaml").write_text("name: s\ngeometry: {n_rows: 2, n_cols: 2}\njunction: {diameter: 80 nm}\n")
    (tmp_path / "c.yaml").write_text(CAMPAIGN)
    before = composition.read(tmp_path / "c.yaml")
    kind = type("Odd", (Odd,), {what: value, "__module__": __name__})
    registered = plugins.registered
    odd = Plugin(PROTOCOLS, "odd", "lab_odd:Odd", "lab-odd", "1.0")
    monkeypatch.setattr(plugins, "registered", lambda group: (*registered(group), odd))
    monkeypatch.setattr(composition, "read_stages", lambda loaded, door: ((*before.stages, kind()), ({}, {})))
    with pytest.raises(BenchError) as error:
        composition.read(tmp_path / "c.yaml")
    assert f"'odd' of lab-odd 1.0, which is not part of this suite, failed: {words}" in str(error.value)


@pytest.mark.parametrize(
    ("name", "changed", "words"),
    [
        ("other", {}, "has the name 'odd' in its class; expected the same"),
        ("odd", {"figures": ({"key": "a"},)}, "declares figures with a dict; expected a tuple of Figure, as"),
        ("odd", {"figures": None}, "declares figures with None; expected a tuple of Figure"),
        ("odd", {"v_start": "420 mV"}, ": the default of 'v_start' is '420 mV'; expected a number in V"),
        ("odd", {"pictures": "abc"}, "declares pictures with 'abc'; expected a tuple of CellMap or Curves"),
    ],
)
def test_what_a_stranger_declares_is_looked_at_before_it_is_used(
    monkeypatch: pytest.MonkeyPatch, name: str, changed: dict[str, Any], words: str
) -> None:
    class Loaded(Plugin):
        def load(self) -> Any:
            return type(
                "Odd",
                (Odd,),
                {"__annotations__": {k: Volt if k == "v_start" else ClassVar[Any] for k in changed}, **changed},
            )

    odd = Loaded(PROTOCOLS, name, "lab_odd:Odd", "lab-odd", "1.0")
    registered = plugins.registered
    monkeypatch.setattr(
        plugins, "registered", lambda group: (*registered(group), *([odd] if group == PROTOCOLS else []))
    )
    kinds, broken = ours._protocols.__wrapped__()
    assert "survey" in kinds  # whoever does not name it is not concerned
    assert f"the protocol '{name}' of lab-odd 1.0 (lab_odd:Odd)" in broken[name]
    assert words in broken[name]


def test_a_protocol_that_cannot_be_loaded_costs_the_campaigns_that_name_it_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "die.yaml").write_text("name: s\ngeometry: {n_rows: 2, n_cols: 2}\njunction: {diameter: 80 nm}\n")
    (tmp_path / "c.yaml").write_text(CAMPAIGN)
    (tmp_path / "d.yaml").write_text(CAMPAIGN.replace("survey", "odd"))
    registered = plugins.registered
    odd = Plugin(PROTOCOLS, "odd", "lab_half_written:Odd", "lab-odd", "1.0")
    reader = Plugin(plugins.INPUTS, "wave", "lab_half_written:WAVE", "lab-odd", "1.0")
    extra = {PROTOCOLS: [odd], plugins.INPUTS: [reader]}
    monkeypatch.setattr(plugins, "registered", lambda group: (*registered(group), *extra.get(group, [])))
    for cached in (ours._protocols, ours.input_readers, registry.campaign_model):
        cached.cache_clear()
    try:
        assert composition.read(tmp_path / "c.yaml").stages[0].name == "survey"
        with pytest.raises(BenchError, match=r"d\.yaml:\d+: stages\.0\.odd: 'odd' of lab-odd 1\.0 .* cannot be loaded"):
            composition.read(tmp_path / "d.yaml")
    finally:
        for cached in (ours._protocols, ours.input_readers, registry.campaign_model):
            cached.cache_clear()
