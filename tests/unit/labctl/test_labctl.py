"""The names that a user imports from `labctl` itself."""

import subprocess
import sys

import pytest

import labctl
from labctl.cli import python_run
from labctl.core import bias, die, limits, operations, procedure, record
from labctl.station import notebook
from labctl.storage import results

HOMES = {
    "Bias": bias,
    "Die": die,
    "Limits": limits,
    "Procedure": procedure,
    "Pulse": operations,
    "Reading": operations,
    "Record": record,
    "Sense": operations,
    "WritePlan": operations,
    "open_bench": notebook,
    "open_run": results,
    "run": python_run,
    "simulated_die": notebook,
}


def test_every_public_name_is_tested():
    assert sorted(labctl.__all__) == sorted(HOMES)
    assert set(HOMES) <= set(dir(labctl))


@pytest.mark.parametrize("name", sorted(HOMES))
def test_a_name_is_the_object_of_its_module(name):
    scope = {}
    exec(f"from labctl import {name}", scope)
    assert scope[name] is getattr(HOMES[name], name)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'labctl' has no attribute 'Chip'"):
        labctl.Chip  # noqa: B018
    with pytest.raises(ImportError):
        exec("from labctl import Chip")


def test_importing_the_package_alone_imports_no_library():
    code = (
        "import sys, labctl; dir(labctl); heavy = {'numpy', 'h5py', 'pydantic', 'scipy', 'yaml', 'typer'}; "
        "print(sorted(heavy & set(sys.modules)), sorted(m for m in sys.modules if m.startswith('labctl.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"
