"""Our bodies keep the contract: passive arrays, the integrated chip, and dies under needles of an emulated bench."""

import pytest

from labctl.testing import check_body
from sim_backend.description import DieDescription
from sim_backend.make import make_die
from tests.contract.test_die import generic, probed


def simulated(**geometry):
    def make(polarity):
        description = {
            "name": "contract",
            "geometry": {"kernels": 2, "n_rows": 5, "n_cols": 3, **geometry},
            "polarity": polarity,
            "junction": {"diameter": "80 nm"},
            "simulation": {"ideal": True},
        }
        return make_die(DieDescription.model_validate(description, context={"file": True}), seed=2, name="die")

    return make


@pytest.mark.parametrize("make", [simulated(), probed, generic], ids=["passive", "2600B", "generic"])
def test_a_passive_body_keeps_the_contract(make):
    check_body(make)


def test_the_integrated_chip_keeps_the_contract():
    check_body(simulated(kind="1T1R"), v_write=0.9)
