"""Random wirings and patterns: what the emulated nets join is what a pattern asks for, and nothing else."""

from dataclasses import dataclass

import numpy as np
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from instruments import routing
from instruments.assignment import OPEN
from instruments.connections import Connections, connect_wiring
from instruments.keithley707b import scheme
from instruments.reach import reach_of
from instruments.wiring import Wiring
from labctl.core.bias import Bias, Geometry
from labctl.core.errors import BenchError
from labctl.core.operations import Pulse, Sense
from sim_backend.emulators.connectivity import Joints

CHANNELS = ("s1.a", "s1.b", "s2.a", "s2.b")
MATRICES = ("left", "right")


@dataclass
class Wired:
    """A wiring that is sound, and the shape of its one kernel."""

    wiring: Wiring
    connections: Connections
    rows: int
    cols: int

    def joints(self) -> Joints:
        """Return the conductors of the emulated bench."""
        kernel = self.wiring.kernels[0]
        lines = {(0, "row", i): pad for i, pad in enumerate(kernel.rows)}
        lines |= {(0, "col", j): pad for j, pad in enumerate(kernel.cols)}
        channels = {channel: channel for channel in self.connections.channels}
        return Joints(channels, lines, ("ground",), Geometry(1, self.rows, self.cols), self.connections.wires)


@st.composite
def wirings(draw):
    """Draw a wiring; None if it is not sound."""
    rows, cols = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    lines = [f"r{i}" for i in range(rows)] + [f"c{j}" for j in range(cols)]
    matrices = MATRICES[: draw(st.integers(0, 2))]
    free = {matrix: list("ABCDEFGH") for matrix in matrices}
    channels, straight = {}, []
    for channel in CHANNELS[: draw(st.integers(1, 4))]:
        on = [matrix for matrix in matrices if draw(st.integers(0, 3))]
        if on:
            channels[channel] = [f"{matrix}.{free[matrix].pop(0)}" for matrix in on]
        else:
            straight.append(channel)
    ground = [f"{matrix}.{free[matrix].pop()}" for matrix in matrices if draw(st.integers(0, 3))]
    pads = {}
    for k, pad in enumerate(lines):
        choices = [f"{matrix}.1-{k + 1:02d}" for matrix in matrices] * 3 + straight[:1] + ["ground"]
        pads[pad] = draw(st.sampled_from(choices))
        if pads[pad] in straight:
            straight.remove(pads[pad])
    values = {"channels": channels, "ground": ground, "pads": pads}
    wiring = Wiring.model_validate({**values, "kernels": [{"rows": lines[:rows], "cols": lines[rows:]}]})
    known = {"s1": ("a", "b"), "s2": ("a", "b")}
    try:
        connections = connect_wiring(wiring, known, {m: scheme("707B") for m in matrices}, {})
    except ValueError:
        return None
    return Wired(wiring, connections, rows, cols)


def patterns(draw, wired, n):
    """Draw n patterns: levels of few values, some lines floating, one line that makes the width."""
    lines = wired.rows + wired.cols
    few = st.lists(st.sampled_from([0.0, 0.0, 0.1, -0.1, 0.2]), min_size=lines, max_size=lines)
    levels = np.array(draw(st.lists(few, min_size=n, max_size=n)))
    floating = np.array(draw(st.lists(st.lists(st.booleans(), min_size=lines, max_size=lines), min_size=n, max_size=n)))
    floating &= draw(st.integers(0, 3)) == 0
    own = np.array(draw(st.lists(st.integers(-1, lines - 1), min_size=n, max_size=n)))
    return Bias(levels[:, : wired.rows], levels[:, wired.rows :], floating=floating, pulsed=own)


def differences_agree(asked, given, open_):
    """Return whether the levels of all connected lines differ by one number from those asked for."""
    shift = (given - asked)[~open_]
    return not len(shift) or np.allclose(shift, shift[0], atol=1e-9)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(st.data())
def test_what_the_nets_join_is_what_was_asked_for(data):
    wired = data.draw(wirings().filter(lambda drawn: drawn is not None))
    connections, kernel = wired.connections, wired.wiring.kernels[0]
    count = len(connections.channels)
    stands = data.draw(st.booleans())
    owner = [CHANNELS.index(channel) // 2 for channel in connections.channels]
    n = data.draw(st.integers(1, 3))
    cols = np.array(data.draw(st.lists(st.permutations(range(wired.cols)), min_size=n, max_size=n)))
    sense = Sense(patterns(data.draw, wired, n), cols[:, : data.draw(st.integers(1, wired.cols))])
    write = patterns(data.draw, wired, n)
    operation = data.draw(st.sampled_from([sense, Pulse(write, 1e-3), Pulse(write, 1e-3, sense)]))
    try:
        reach = reach_of(kernel.lines, (wired.rows, wired.cols), connections, owner, range(count), stands)
        visits = routing.plan(operation, [reach], count)
    except BenchError:
        event("refused")
        return
    event("made")
    joints = wired.joints()
    seen = np.zeros(sense.cols.shape, np.int64)
    for k in range(len(visits)):
        p, route = int(visits.pattern[k]), visits.route[k]
        closed = []
        for pad, source in zip(kernel.lines, route.tolist(), strict=True):
            relay = connections.relay(pad, source) if source != OPEN else None
            if relay is not None:
                matrix, name = relay
                closed.append((f"{matrix}.{name[1]}", f"{matrix}.{name[0]}-{name[2:]}"))
        nets = joints.nets(closed)
        for line, source in enumerate(route.tolist()):
            (net,) = nets.at([joints.conductor(kernel.lines[line])])
            expected = () if source in (OPEN, count) else (connections.channels[source],)
            assert net.channels == expected
            assert net.grounded == (source == count)
            together = np.flatnonzero(route == source) if source != OPEN else [line]
            assert sorted(net.lines[0].tolist()) == list(together)
        if not stands:
            assert len({owner[c] for c in route.tolist() if 0 <= c < count}) <= 1
        for happens, levels, bias in (
            (visits.pulses[k], visits.pulse[k], operation.bias),
            (visits.reads[k], visits.read[k], sense.bias),
        ):
            if happens:
                asked = np.concatenate([bias.row[p], bias.col[p]])
                given_ = np.where(route == OPEN, np.nan, np.append(levels, 0.0)[np.where(route == OPEN, count, route)])
                assert ((route == OPEN) == bias.floating[p]).all()
                assert differences_agree(asked, given_, route == OPEN)
        for channel, slot in enumerate(visits.sense[k].tolist()):
            if slot >= 0:
                assert np.flatnonzero(route == channel).tolist() == [wired.rows + sense.cols[p, slot]]
                seen[p, slot] += 1
        if (slot := int(visits.rest[k])) >= 0:
            column = wired.rows + sense.cols[p, slot]
            assert np.flatnonzero(route == count).tolist() == [column], "no other line on ground"
            seen[p, slot] += 1
        if visits.maker[k] >= 0:
            own = int(operation.bias.pulsed[p])
            makers = np.flatnonzero(route == visits.maker[k]).tolist()
            stays = np.append(visits.pulse[k], 0.0)[route[own]] == 0
            assert makers == [own] or stays, "what is at the level of ground does not move; its counterpart does"
    if visits.reads.any():
        wanted = np.take_along_axis(~sense.bias.floating[:, wired.rows :], sense.cols, 1)
        assert (seen == wanted).all()
