"""Contracts of sources, matrices, probers, pulse sources, bodies and protocols, to be carried out on one's own.

In the tests of a distribution::

    from labctl.testing import check_driver

    def test_my_driver_keeps_the_contract_of_its_kind():
        check_driver("lab_smu", model="SMU-7")

`check_driver` needs an emulator that the driver names; `check_source`, `check_matrix`, `check_prober`,
`check_pulse_source` and `check_body` take a function that makes the subject, on an instrument of your own too: with
resistors or nothing connected, never a die.
`labctl.testing.broken` has one that breaks each check. `replay_session` replays what `labctl check --record` recorded.
"""

from labctl.testing.bodies import check_body
from labctl.testing.contract import ContractError
from labctl.testing.emulated import check_driver
from labctl.testing.matrices import check_matrix
from labctl.testing.probers import check_prober
from labctl.testing.protocols import check_protocol
from labctl.testing.pulse_sources import check_pulse_source
from labctl.testing.sessions import replay_session
from labctl.testing.sources import check_source

__all__ = [
    "ContractError", "check_body", "check_driver", "check_matrix", "check_prober", "check_protocol",
    "check_pulse_source", "check_source", "replay_session",
]  # fmt: skip
