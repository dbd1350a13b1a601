"""Plug-ins are found by name in installed distributions, and whatever goes wrong is said with their names."""

import sys

import pytest

from labctl.core import plugins
from labctl.core.errors import BenchError, LimitError
from labctl.core.plugins import API, API_GROUP, INSTRUMENTS, PROTOCOLS, Plugin, find, installed, strangers_errors


def test_ours_are_found_like_everybodys(register):
    register(INSTRUMENTS, {"lamp": "labctl.core.model:Model"})
    assert not find(INSTRUMENTS, "keithley2600b").foreign
    assert find(INSTRUMENTS, "lamp").foreign
    assert find(INSTRUMENTS, "lamp").origin == "lab-things 1.0"
    assert find(INSTRUMENTS, "lamp").load().__name__ == "Model"


def test_a_name_that_is_not_installed_is_answered_with_those_that_are():
    with pytest.raises(BenchError, match=r"'kiethley707b' is not installed .*707b.*; did you mean 'keithley707b'\?"):
        find(INSTRUMENTS, "kiethley707b")
    with pytest.raises(BenchError, match="there are none"):
        find("labctl.no-such-group", "lamp")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("labctl.core.no_such_module:X", "ModuleNotFoundError"),
        ("labctl.core.model:Lamp", "AttributeError"),
        ("tests.unit.labctl.core.leaving:X", "SystemExit: out of here"),
    ],
)
def test_what_cannot_be_loaded_is_named_with_its_distribution(value, words, monkeypatch, tmp_path):
    import sys
    import types

    class Leaving(types.ModuleType):
        def __getattr__(self, name):
            raise SystemExit("out of here")

    monkeypatch.setitem(sys.modules, "tests.unit.labctl.core.leaving", Leaving("leaving"))
    plugin = Plugin(INSTRUMENTS, "lamp", value, "lab-things", "1.0")
    with pytest.raises(BenchError, match=rf"'lamp' of lab-things 1.0 .*{value}.* cannot be loaded: {words}"):
        plugin.load()


def test_one_name_of_two_distributions_is_refused(monkeypatch):
    both = tuple(Plugin(INSTRUMENTS, "lamp", "a:b", distribution, "1") for distribution in ("one", "two"))
    monkeypatch.setattr(plugins, "registered", lambda group: both)
    with pytest.raises(BenchError, match=r"'lamp' .* is registered by one 1 and by two 1"):
        installed(INSTRUMENTS)


def test_a_distribution_for_another_interface_is_refused_by_name(register):
    register(INSTRUMENTS, {"lamp": "labctl.core.model:Model"})
    assert find(INSTRUMENTS, "lamp").load()
    register(API_GROUP, {"7": "labctl.core.model", "8": "labctl.core.model"})
    with pytest.raises(BenchError, match=r"'lamp' of lab-things 1\.0 .* for version 7, 8 .* has 1; install"):
        find(INSTRUMENTS, "lamp").load()
    register(API_GROUP, {str(API): "labctl.core.model"})
    assert find(INSTRUMENTS, "lamp").load()


def test_whatever_a_strangers_plugin_raises_is_named_as_its_own(register):
    register(PROTOCOLS, {"lamp": "labctl.core.model:Model"})
    with (
        pytest.raises(
            BenchError, match=r"'lamp' of lab-things 1\.0, which is not part .*: ZeroDivisionError: by 0"
        ) as at,
        strangers_errors(PROTOCOLS, "lamp"),
    ):
        raise ZeroDivisionError("by 0")
    assert isinstance(at.value.__cause__, ZeroDivisionError)
    with (
        pytest.raises(BenchError, match=r"'lamp' of lab-things .*: SystemExit: 3"),
        strangers_errors(PROTOCOLS, "lamp"),
    ):
        raise SystemExit(3)
    with pytest.raises(LimitError), strangers_errors(PROTOCOLS, "lamp"):
        raise LimitError("voltage", 2.0, 1.0, "V")
    with pytest.raises(ZeroDivisionError), strangers_errors(PROTOCOLS, "survey"):
        raise ZeroDivisionError("a bug of ours")


def test_the_line_of_a_plugins_own_code_is_named(register, tmp_path, monkeypatch):
    (tmp_path / "lab_lamp.py").write_text("import json\n\n\ndef shine():\n    json.loads('{')\n")
    (tmp_path / "lab_dark.py").write_text("\nfrom json import lumps\n")
    monkeypatch.syspath_prepend(tmp_path)
    register(PROTOCOLS, {"lamp": "lab_lamp:shine", "dark": "lab_dark:X"})
    try:
        shine = find(PROTOCOLS, "lamp").load()
        line = r"failed: JSONDecodeError: .* \(lab_lamp\.py:5\)$"
        with pytest.raises(BenchError, match=line), strangers_errors(PROTOCOLS, "lamp"):
            shine()
        with pytest.raises(BenchError, match=r"cannot be loaded: ImportError: .* \(lab_dark\.py:2\)$"):
            find(PROTOCOLS, "dark").load()
    finally:
        sys.modules.pop("lab_lamp", None)
