"""A declaration says everything that planning needs, and is refused when it says too little."""

import ast
from pathlib import Path

import pytest

import instruments
from instruments.keithley707b import Keithley707B
from labctl.core import plugins
from labctl.core.driver import Driver, DriverKind, Wire, declared
from labctl.core.errors import BenchError
from labctl.core.plugins import BODIES, INSTRUMENTS

FOLDER = Path(instruments.__file__).parent


def test_every_declaration_in_the_package_is_registered_by_the_name_of_its_file_and_nothing_else_is():
    files = {
        path.stem
        for path in FOLDER.glob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "DRIVER" for t in node.targets)
    }
    registered = [p for group in (INSTRUMENTS, BODIES) for p in plugins.registered(group) if not p.foreign]
    own = {p.name: p.value for p in registered if p.value.endswith(":DRIVER")}
    assert own == {name: f"instruments.{name}:DRIVER" for name in files}
    assert len(own) >= 4


def test_no_other_file_of_the_packages_names_a_driver():
    names = {p.name for p in plugins.registered(INSTRUMENTS) if not p.foreign}
    assert names
    for package in ("instruments", "labctl"):
        for path in (FOLDER.parent / package).rglob("*.py"):
            if (
                path.parent == FOLDER / "adapter"
            ):  # which names libraries, and for each class the driver that reads back
                continue
            literals = {
                node.value
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            }
            assert path.stem in names or not literals & names, f"{path} names a driver"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": DriverKind.SOURCE}, "a source declares its capabilities"),
        ({"kind": DriverKind.MATRIX, "options": dict}, r"expected a subclass of labctl\.core\.model\.Model"),
        ({"kind": DriverKind.MATRIX}, "a matrix declares its scheme, by which the wires of a bench are checked"),
        ({"kind": DriverKind.PULSES}, "a pulse source declares its capabilities, by which its pulses are planned"),
        ({"kind": DriverKind.PROBER, "location": str}, "location is for a driver without a wire"),
    ],
)
def test_a_declaration_that_says_too_little_is_refused(arguments, words):
    with pytest.raises(TypeError, match=words):
        Driver(make=Keithley707B, **arguments)


def test_what_is_no_declaration_is_no_driver(register):
    register(INSTRUMENTS, {"lamp": "instruments.keithley707b:Keithley707B"})
    with pytest.raises(BenchError, match=r"'lamp' of lab-things 1\.0 .* expected a labctl\.core\.driver\.Driver"):
        declared("lamp")
    assert declared("manual_prober")[0].wire is Wire.OPERATOR
