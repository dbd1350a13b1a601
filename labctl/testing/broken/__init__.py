"""Broken sources, matrices, probers, pulse sources, bodies and protocols: for each check one that breaks it.

A contract that is never seen to fail may check nothing. Each is made of a good one, which it wraps; the tests of this
suite carry them all out, and a distribution may do so with its own.
"""

from labctl.testing.bodies import BODY_CHECKS
from labctl.testing.broken.bodies import BROKEN_BODIES
from labctl.testing.broken.matrices import BROKEN_MATRICES
from labctl.testing.broken.probers import BROKEN_PROBERS
from labctl.testing.broken.protocols import BROKEN_PROTOCOLS
from labctl.testing.broken.pulse_sources import BROKEN_PULSE_SOURCES
from labctl.testing.broken.sources import BROKEN_SOURCES
from labctl.testing.matrices import MATRIX_CHECKS
from labctl.testing.probers import PROBER_CHECKS
from labctl.testing.protocols import PROTOCOL_CHECKS
from labctl.testing.pulse_sources import PULSE_SOURCE_CHECKS
from labctl.testing.sources import SOURCE_CHECKS

CHECKS = {
    "source": SOURCE_CHECKS,
    "matrix": MATRIX_CHECKS,
    "prober": PROBER_CHECKS,
    "pulse source": PULSE_SOURCE_CHECKS,
    "body": BODY_CHECKS,
    "protocol": PROTOCOL_CHECKS,
}
BROKEN = {
    "source": BROKEN_SOURCES,
    "matrix": BROKEN_MATRICES,
    "prober": BROKEN_PROBERS,
    "pulse source": BROKEN_PULSE_SOURCES,
    "body": BROKEN_BODIES,
    "protocol": BROKEN_PROTOCOLS,
}
"""By kind, for each check one that breaks it."""
