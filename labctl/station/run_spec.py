"""A run with every file read, frozen: what is done to which dies, on what, within which limits.

Its JSON names every file by its digest and is the greater part of ``run.json``; the bytes of the files lie beside it.
A run that goes on is compiled again from those bytes, and its JSON has to be the same.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl.config.bins import BinRule
from labctl.config.notify import Notify
from labctl.config.rules import Batch
from labctl.config.wafer_file import Layout
from labctl.core.errors import BenchError
from labctl.core.fiducial import Fiducial
from labctl.core.limits import Limits
from labctl.core.planned_fault import InjectedFaults
from labctl.core.procedure import Procedure
from labctl.core.retest import Retest
from labctl.core.site import Site
from labctl.core.units import Kelvin
from labctl.files import Loaded, digest, names_of
from labctl.wafer_maps.drawing import describe

if TYPE_CHECKING:
    from instruments.board_bench import AnyBench
    from labctl.station.bench_setup import Station


class RunKind(StrEnum):
    """What a run carries out."""

    CAMPAIGN = "campaign"
    BY_HAND = "by hand"
    """A session on the die under the needles: there is no procedure, so nothing can go on."""


@dataclass(frozen=True)
class InputSource:
    """Where an input of a stage came from.

    Args:
        text: the path or name in the stage.
        files: digest of every file that was read for it, by path.
        shipped: digest of every content read for it that comes with a distribution, by name.
    """

    text: str
    files: Mapping[str, str]
    shipped: Mapping[str, str]

    @property
    def digests(self) -> list[str]:
        """The digests of all that was read, sorted."""
        return sorted([*self.files.values(), *self.shipped.values()])


@dataclass(frozen=True)
class RunSpec:
    """A run with every file read, frozen.

    Args:
        subjects: the dies that are worked on, with their places on the map.
        stages: what is done to each, in order; none by hand.
        temperature: of the dies, None if nobody says it.
        inputs: of each stage, where its inputs came from, by field.
        bins: the first rule that is true of a die gives its bin.
        roles: path of the campaign, the die and the bench file, by role.
        files: bytes of every file that was read, by its path.
        shipped: digest of every content read that comes with a distribution, by its name.
        overrides: values set on the command line, as given.
        sim: None for a real bench and for simulated dies; "bytes" or "tcp" for the twin of a bench.
        ledger: the lab's stress ledger; None for simulated dies.
        slot: of the cassette that the wafer comes from; None if it is on the chuck.
        skipped: dies that are left out; `excluded` says why.
        others: dies of the wafer that are not worked on: skipped, or not chosen.
        fiducials: places at which the prober verifies the map before the first die.
        layout: the places of the wafer, as its map was read or drawn; None without a wafer.
        golden: the reference die, one of `others`; `visit`: the stages of a visit.
        faults: injected into simulated instruments and dies, to rehearse a night; None for a run without.
        retest: the earlier run whose dies are measured again; None for a run that is no retest.
        declared: the figures and pictures that are made of what it measures, as plain data.
        operator: who answers for the run, as the campaign says; "" if it does not.
        loaded: the YAML files as they were read, the campaign first, for messages that name a line.
    """

    kind: RunKind
    name: str
    seed: int
    limits: Limits
    subjects: tuple[Site, ...]
    stages: tuple[Procedure, ...]
    roles: Mapping[str, Path]
    files: Mapping[Path, bytes]
    title: str = ""
    temperature: Kelvin | None = None
    inputs: tuple[Mapping[str, InputSource], ...] = ()
    shipped: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, str] = field(default_factory=dict)
    bins: tuple[BinRule, ...] = ()
    batch: Batch = field(default_factory=Batch)
    notify: Notify | None = None
    bench: "AnyBench | None" = None
    sim: str | None = None
    ledger: Path | None = None
    slot: int | None = None
    skipped: tuple[Site, ...] = ()
    others: tuple[Site, ...] = ()
    fiducials: tuple[Fiducial, ...] = ()
    layout: Layout | None = None
    golden: Site | None = None
    visit: tuple[Procedure, ...] = ()
    faults: InjectedFaults | None = None
    retest: Retest | None = None
    declared: Mapping[str, Any] = field(default_factory=dict)
    operator: str = ""
    loaded: tuple[Loaded[Any], ...] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.faults is not None and self.real is not None:
            raise BenchError(
                "faults are never injected into a real bench; rehearse on its twin: --sim bytes or --sim tcp"
            )

    @property
    def real(self) -> "AnyBench | None":
        """The real bench; None for a twin and for simulated dies."""
        return self.bench if self.sim is None else None

    @property
    def map_drawing(self) -> tuple[str, ...]:
        """The wafer map as it was read, in lines of text; empty without a map file."""
        if self.layout is None or self.layout.source is None:
            return ()
        return tuple(describe(self.layout.map, str(self.layout.source), [f.at for f in self.fiducials]))

    @property
    def body(self) -> str:
        """What the dies are: simulated, on a bench, or on its twin."""
        injected = "" if self.faults is None else f", with {self.faults.text}"
        if self.bench is None:
            return f"simulated{injected}"
        from labctl.station.stand_ins import twin_text  # imported here for the same reason as `Station` below

        twin = f", {twin_text(self.bench, self.sim)}" if self.sim else ""
        return f"bench '{self.bench.name}'{injected}{twin}"

    @property
    def station(self) -> "Station | None":
        """The bench with the dies that are worked on; None for simulated dies."""
        if self.bench is None:
            return None
        # imported here: simulated dies have no use for all that drives a bench and emulates one
        from labctl.station.bench_setup import Station

        injected = self.faults is not None
        return Station(
            self.bench, self.subjects, self.others, self.fiducials, self.sim, self.ledger, injected, self.temperature,
            self.slot,
        )  # fmt: skip

    def some(self, only: Sequence[str] | None) -> "RunSpec":
        """Return the run of the dies of `only`; BenchError if there is no such die."""
        if only is None:
            return self
        if not only:
            raise BenchError(f"no die is chosen; expected some of {', '.join(s.name for s in self.subjects)}")
        if unknown := sorted(set(only) - {s.name for s in self.subjects}):
            raise BenchError(f"there is no die {unknown[0]}; there are {', '.join(s.name for s in self.subjects)}")
        return replace(self, subjects=tuple(s for s in self.subjects if s.name in only))

    def to_json(self) -> dict[str, Any]:
        """Return the run as plain data in SI units, every file by its digest."""
        stages = [
            {
                "procedure": procedure.name,
                "settings": procedure.settings_data(),
                "inputs": {name: source.digests for name, source in sources.items()},
            }
            for procedure, sources in zip(self.stages, self.inputs, strict=True)
        ]
        return {
            "kind": self.kind.value,
            "name": self.name,
            "title": self.title,
            "temperature": self.temperature,
            "seed": self.seed,
            "body": self.body,
            "real": self.real is not None,
            "sim": self.sim,
            "dies": [_plain(site) for site in (*self.subjects, *self.skipped)],
            "limits": self.limits.model_dump(mode="json"),
            "stages": stages,
            "bins": [rule.model_dump(mode="json") for rule in self.bins],
            "batch": self.batch.model_dump(mode="json"),
            "visit": [{"procedure": p.name, "settings": p.settings_data()} for p in self.visit],
            "fiducials": [fiducial.model_dump(mode="json") for fiducial in self.fiducials],
            "wafer_map": None if self.layout is None else self.layout.to_json(),
            **({} if self.slot is None else {"slot": self.slot}),
            "faults": None if self.faults is None else self.faults.plain(),
            "retest": None if self.retest is None else self.retest.plain(),
            **self.declared,
        }

    def provenance(self) -> dict[str, Any]:
        """Return the names, paths and digests of what the run was read from, and what the command line set."""
        names = names_of(self.files)
        return {
            "set": dict(self.overrides),
            "files": {names[path]: {"path": str(path), "sha256": digest(raw)} for path, raw in self.files.items()},
            "shipped": dict(self.shipped),
            "roles": {role: names[path] for role, path in self.roles.items()},
        }


IN_PYTHON = "in Python:"
"""First word of the arguments of a run that was not begun by a command line; the other is the call."""


def command_of(argv: Sequence[str]) -> str:
    """Return the arguments of a run as what is given to make it again.

    >>> command_of(["/usr/bin/labctl", "map"]), command_of([IN_PYTHON, "labctl.open_bench('b.yaml')"])
    ('labctl map', "in Python: labctl.open_bench('b.yaml')")
    """
    return " ".join(argv if argv[:1] == [IN_PYTHON] else ["labctl", *argv[1:]])


def differences(then: Any, now: Any, at: str = "") -> Iterator[str]:
    """Yield how the JSON of a run differs from what it was, key by key, for the operator.

    >>> list(differences({"limits": {"width": 1.0}, "bins": []}, {"limits": {"width": 2.0}}))
    ['limits.width is 2.0, it was 1.0', 'bins is gone, it was []']
    """
    if isinstance(then, dict) and isinstance(now, dict):
        for key in dict.fromkeys((*then, *now)):
            yield from differences(then.get(key, _GONE), now.get(key, _GONE), f"{at}.{key}" if at else key)
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for number, (before, after) in enumerate(zip(then, now, strict=True)):
            yield from differences(before, after, f"{at}.{number}")
    elif then != now:
        yield f"{at} is {_shown(now)}, it was {_shown(then)}"


_GONE = object()


def _shown(value: Any) -> str:
    return "gone" if value is _GONE else json.dumps(value)[:80]


def _plain(site: Site) -> dict[str, Any]:
    """Return a die as plain data; its description is in the journal of the die, here is its digest."""
    description = json.dumps(site.description.model_dump(mode="json"), sort_keys=True)
    return {
        "name": site.name,
        "at": list(site.at),
        "wafer": site.wafer,
        "excluded": site.excluded,
        "description": hashlib.sha256(description.encode()).hexdigest(),
    }
