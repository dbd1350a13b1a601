"""The tables of the protocols say what is in them: a line under every field, a name for every axis."""

import ast
import dataclasses
import inspect
from itertools import pairwise

import numpy as np
import pytest

from labctl.core.bias import Geometry, Nominal
from labctl.core.record import History, Record
from labctl.execution.nominal_die import NominalDie
from protocols import records
from protocols.network import Network
from protocols.records import TABLES
from protocols.samples import Dataset
from protocols.settings import InferenceReadSettings
from protocols.stage_inputs import Networks, Remapping
from protocols.survey import Survey
from protocols.weights import Layer, Placement, Solution


def fields_and_lines() -> dict[str, dict[str, str]]:
    """Return the text under every field of every class, "" where there is none."""
    texts: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(records)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        lines = texts.setdefault(node.name, {})
        for here, after in pairwise([*node.body, ast.Pass()]):
            if isinstance(here, ast.AnnAssign | ast.Assign):
                name = here.target if isinstance(here, ast.AnnAssign) else here.targets[0]
                assert isinstance(name, ast.Name)
                documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                lines[name.id] = str(after.value.value) if documented else ""  # type: ignore[attr-defined]
    return texts


@pytest.mark.parametrize("table", TABLES)
def test_every_field_has_one_line(table: type[Record]) -> None:
    lines = fields_and_lines()[table.__name__]
    for field in dataclasses.fields(table):
        assert lines[field.name], field.name
        assert "\n" not in lines[field.name]


def test_axes_are_those_of_the_arrays() -> None:
    devices = np.random.default_rng(3).random((4, 6)) < 0.5
    network = Network(
        placement=(Placement(kernel=1, row=1),),
        solutions=Networks((Solution(0, (Layer(devices, np.zeros(3)),)),)),
        data=Dataset(np.zeros((7, 4)), np.arange(7) % 3, np.zeros((5, 4)), np.arange(5) % 3),
        remap=Remapping.SURVEY,
        calibrate=6,
    )
    die, history, seen = NominalDie(Geometry(2, 5, 7), Nominal.alike(4e-4, 2e-4, 2), timing=len), History(), set()
    for procedure in (Survey(inference=InferenceReadSettings()), network):
        for record in procedure.run(die, history):
            seen.add(type(record))
            history.add(record)
            arrays = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
            arrays = {k: v for k, v in arrays.items() if isinstance(v, np.ndarray)}
            if record.columnar:
                (shape,) = {v.shape for v in arrays.values()}
                assert len(shape) == 1
            else:
                axes = type(record).axes  # type: ignore[attr-defined]
                assert {k: len(v) for k, v in axes.items()} == {k: v.ndim for k, v in arrays.items()}
    assert seen == set(TABLES) - {records.Line}  # which has no arrays
