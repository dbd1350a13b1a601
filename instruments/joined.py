"""Sources on one TSP-Link that act as one: scripts of the first drive the channels of all.

A route has as many cells as its channels make, and a script has the channels of one instrument, since no level stands
between two scripts. Over the bus a script reaches the channels of the others, so that four channels act on one route,
and at its end all of them are at 0 V behind the low limit. Each source is set up, switched on and off, and made safe at
its own address; for as long as the first one drives it, it gets no command there but in an emergency, which begins with
an abort.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from instruments.bench import Bench
from instruments.emergency import at_once, emergency_off
from instruments.step_sequence import SourceChannel
from labctl.core.cell_program import Joins
from labctl.core.errors import BenchError, InstrumentError
from labctl.core.source import Aperture, ChannelSetup, SourceMeasure
from labctl.core.units import Second


@dataclass
class Joined:
    """The sources of a bench that act as one.

    Args:
        lead: the first, whose scripts drive all channels.
        channels: of the bench, with their names in such a script.
        nodes: node number of each other source, by the index of the source.
        models: of the others, by their node numbers.
        others: that the lead drives.
    """

    lead: Joins
    channels: list[SourceChannel]
    nodes: dict[int, int]
    models: dict[int, str]
    others: Sequence[SourceMeasure]
    _holds: bool = False
    """The lead may have reached the others since it let go of them."""

    @classmethod
    def of(cls, bench: Bench, units: Sequence[SourceMeasure], channels: Sequence[SourceChannel]) -> "Joined":
        """Return the joined sources of a bench.

        Raises:
            BenchError: a source that is wired drives no others, is another model, or has no node number of its own.
        """
        wired = list(dict.fromkeys(channel.instrument for channel in channels))
        if len(wired) < 2:
            raise BenchError("'joined: true' joins sources, and one alone is wired; leave it out")
        nodes = {at: bench.instruments[units[at].name].node for at in wired}
        names = ", ".join(units[at].name for at in wired)
        models = {units[at].capabilities.model for at in wired}
        lead = units[wired[0]]
        scripts = [units[at].capabilities.script for at in wired]
        remote = "" if scripts[0] is None else scripts[0].remote
        if not all(script is not None and script.remote for script in scripts):
            raise BenchError(f"'joined: true': {names} are not all sources whose scripts drive others over TSP-Link")
        if len(models) > 1:
            raise BenchError(f"'joined: true': {names} are {', '.join(sorted(models))}; expected one model")
        if None in nodes.values() or len(set(nodes.values())) < len(nodes):
            raise BenchError(
                f"'joined: true': {names} act as one over TSP-Link; expected 'tsplink' with a node number of its own "
                "for each"
            )
        numbers = {at: int(node) for at, node in nodes.items() if node is not None and at != wired[0]}
        return cls(
            cast("Joins", lead),
            [
                channel
                if channel.instrument == wired[0]
                else replace(
                    channel,
                    instrument=wired[0],
                    name=remote.format(node=numbers[channel.instrument], channel=channel.name),
                    home=channel.instrument,
                    own=channel.name,
                )
                for channel in channels
            ],
            numbers,
            {numbers[at]: units[at].capabilities.model for at in numbers},
            [units[at] for at in numbers],
        )

    def join(self, active: Iterable[int], setup: ChannelSetup, aperture: Second) -> None:
        """Have the lead drive channels of all, which were set up as `setup` and are on at 0 V.

        Args:
            active: indices of those among `channels`; the others stay off, and no script names them.
            aperture: of the readings that verify 0 V, s.

        Raises:
            InstrumentError: it reaches one of them not, or another model in its place.
        """
        for node, model in self.models.items():
            if (linked := self.lead.linked(node)) != model:
                raise InstrumentError(
                    f"node {node} of the TSP-Link of the sources is a {linked}, and the bench file says {model}; look "
                    "at 'tsplink' in the bench file"
                )
        self._holds = True
        remote = [self.channels[k].name for k in active if self.channels[k].remote]
        self.lead.join(dict.fromkeys(remote, setup))
        self.lead.run([Aperture(name, aperture) for name in remote])

    def silence(self) -> None:
        """Switch off all at once, so that none waits for another one; whoever cannot be is passed over here.

        The others again behind the lead, whose script may have gone on driving them for as long as it was on.
        """
        others = {unit.name: partial(emergency_off, unit.name, unit) for unit in cast("Sequence[Any]", self.others)}
        at_once({self.lead.name: partial(emergency_off, self.lead.name, self.lead), **others}, {})
        at_once(others, {})

    def separate(self) -> None:
        """Have the others take commands of their own again; the lead lets go of them, and moves no level."""
        if self._holds:
            self.lead.release()
            self._holds = False
