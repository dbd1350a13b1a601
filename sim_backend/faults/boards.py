"""Faults of a board that drives a die by itself, of its parts and of those who share it.

A defect lasts while the message is executed to which it happens; one of `LASTING` happens to every message until
somebody has repaired the board.
"""

from collections.abc import Callable

from labctl.boards.daffodil import patterns
from labctl.boards.daffodil import registers as reg
from sim_backend.emulators.daffodil import DaffodilServer
from sim_backend.emulators.daffodil_analog import Defects
from sim_backend.faults.kinds import Injection, Link, dropped, kind

LONGER: float = 1.0
"""Silence beyond a lease, s."""
OLDER = patterns.VERSION - 1
RESTARTED = ("registers reset",)
"""Kinds that are repaired when the server on the board is started again."""
KINDS_OF_BOARDS = (
    *("line stuck", "amplifier saturated", "converter dead", "supply off"),
    *("registers reset", "lease lost", "made safe by another client", "another version"),
)

Broken = Callable[[Injection, DaffodilServer], tuple[Defects, str]]
"""Draws what is broken; returns it, and in words."""


def _broken(name: str) -> Callable[[Broken], Broken]:
    """Register a kind of a board of which something is broken; the same as long as it lasts."""

    def add(draw: Broken) -> Broken:
        def act(injection: Injection, link: Link, data: bytes) -> bool:
            server = link.instrument
            if not isinstance(server, DaffodilServer):
                return link.deliver(data)
            if injection.drawn is None:
                injection.drawn = draw(injection, server)
            defects, injection.detail = injection.drawn
            server.board.defects = defects
            try:
                link.deliver(data)
            finally:
                server.board.defects = Defects()
            return True

        kind(name)(act)
        return draw

    return add


@_broken("line stuck")
def _stuck(injection: Injection, server: DaffodilServer) -> tuple[Defects, str]:
    board = server.board
    _, n_rows, n_cols = board.chip.geometry.shape
    places = {f"row {i}": reg.column_dac(i) for i in range(n_rows)}
    places |= {f"column {i}": reg.row_dac(i) for i in range(n_cols)}
    places |= {f"gate {i}": reg.gate_dac(i, board.swapped) for i in range(n_rows)}
    line = injection.dice.choice(sorted(places))
    return Defects(stuck=frozenset({places[line]})), line


@_broken("amplifier saturated")
def _saturated(injection: Injection, server: DaffodilServer) -> tuple[Defects, str]:
    analog, column = server.board.analog, injection.dice.randrange(server.board.chip.geometry.n_cols)
    volts = injection.dice.choice((analog.low, analog.high))
    return Defects(saturated={column: volts}), f"column {column} at {volts:g} V"


@_broken("converter dead")
def _dead(injection: Injection, server: DaffodilServer) -> tuple[Defects, str]:
    adc = injection.dice.randrange(-(-server.board.chip.geometry.n_cols // reg.ADC_CHANNELS))
    code = injection.dice.choice((0, reg.TOP_CODE))
    return Defects(dead={adc: code}), f"ADC {adc} at {code}"


@_broken("supply off")
def _unsupplied(injection: Injection, server: DaffodilServer) -> tuple[Defects, str]:
    return Defects(unsupplied=True), "converters and amplifiers"


@kind("registers reset")
def _registers_reset(injection: Injection, link: Link, data: bytes) -> bool:
    """All registers are 0, as behind a reset of the FPGA: nothing goes on before the server is started again."""
    server = link.instrument
    if not isinstance(server, DaffodilServer) or injection.happened:
        return link.deliver(data)
    for address in sorted(server.board.words):
        if address != reg.ABI:
            server.board.write(address, 0)
    link.deliver(data)
    return True


@kind("lease lost")
def _lease_lost(injection: Injection, link: Link, data: bytes) -> bool:
    server = link.instrument
    if not isinstance(server, DaffodilServer) or not server.service.lease:
        return link.deliver(data)
    link.world.advance(server.service.lease + LONGER)
    server.service.watch()
    link.deliver(data)
    return True


@kind("made safe by another client")
def _safed(injection: Injection, link: Link, data: bytes) -> bool:
    server = link.instrument
    if not isinstance(server, DaffodilServer):
        return link.deliver(data)
    server.execute("SAFE")
    link.deliver(data)
    return True


@kind("another version")
def _other_version(injection: Injection, link: Link, data: bytes) -> bool:
    """The board was started again, and its server is an older one."""
    if not isinstance(link.instrument, DaffodilServer):
        return link.deliver(data)
    if not injection.happened:
        link.power_cycle()
        raise dropped()
    link.give(_older(data, b"" if data.startswith(b"#") else link.execute(data)))
    return True


def _older(data: bytes, reply: bytes) -> bytes:
    """Return the reply of a server of the version before, to which a number in front of a message was nothing."""
    if data.startswith(b"*IDN?"):
        return reply.rpartition(b",")[0] + b",%d\n" % OLDER
    return b"ERROR syntax: '%s' is not known\n" % data.split(b" ")[0] if data.startswith(b"#") else reply
