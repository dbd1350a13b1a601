"""What is installed is listed with whose it is, and what cannot be used is wrong."""

import pytest

from labctl.core import plugins
from labctl.core.plugins import API_GROUP, BODIES, EMULATORS, GROUPS, INSTRUMENTS
from labctl.station.doctor import plugins_of


@pytest.mark.parametrize("group", [group for group in GROUPS if group != API_GROUP])
def test_ours_are_all_sound(group):
    finding = plugins_of(group)
    assert finding.ok, finding.text
    assert finding.check == group
    for plugin in plugins.registered(group):
        assert plugin.name in finding.text


def test_plug_ins_are_listed_by_distribution_and_version(register):
    register(INSTRUMENTS, {"lamp": "instruments.keithley707b:DRIVER"})
    finding = plugins_of(INSTRUMENTS)
    assert finding.ok
    assert "lamp (lab-things 1.0)" in finding.text
    assert "keithley707b" in finding.text.partition("(mtj-labctl")[0]


@pytest.mark.parametrize(
    ("group", "value", "words"),
    [
        (INSTRUMENTS, "instruments.keithley707b:LAMP", "'lamp' of lab-things 1.0 .* cannot be loaded: AttributeError"),
        (INSTRUMENTS, "instruments.keithley707b:Keithley707B", "'lamp' of lab-things 1.0 .* is type; expected"),
        (BODIES, "instruments.keithley707b:DRIVER", "'lamp' of lab-things 1.0 is a matrix, and registered under"),
        (EMULATORS, "sim_backend.no_such_module:emulate", "'lamp' of lab-things 1.0 .* ModuleNotFoundError"),
    ],
)
def test_one_that_cannot_be_used_is_wrong_and_named(register, group, value, words):
    import re

    register(group, {"lamp": value})
    finding = plugins_of(group)
    assert not finding.ok
    assert re.search(words, finding.text)


def test_a_group_without_any_is_wrong(monkeypatch):
    monkeypatch.setattr(plugins, "registered", lambda group: ())
    assert not plugins_of(INSTRUMENTS).ok
