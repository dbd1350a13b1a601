"""The wafer map is proved on the emulated wafer: what fits starts, what does not says how the map lies."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from instruments.bench import Bench
from instruments.fiducial import Fiducial, PadGround, fits, prove
from instruments.open_bench import open_bench
from labctl.batch.session import RunOptions, start
from labctl.core.die_state import State
from labctl.core.errors import BenchError, ContactError
from labctl.station import composition
from labctl.station.run_spec import RunSpec
from labctl.station.twin import Twin
from labctl.storage.run_log import read_state
from sim_backend.description import DieDescription
from sim_backend.die import SimDie

DRAWN = (".XX..", "XXXXX", "XXXXX", ".XXX.")
DIES = [(x, y) for y, row in enumerate(DRAWN) for x, mark in enumerate(row) if mark == "X"]
MONITOR = (3, 3)
"""Where the die stands whose junctions are wider."""
PADS = {"r0": "1-01", "r1": "1-02", "c0": "1-03", "c1": "1-04", "c2": "1-05"}
BENCH = {
    "name": "fiducials",
    "instruments": {
        "smu": {"driver": "keithley2600b", "resource": "1"},
        "smu2": {"driver": "keithley2600b", "resource": "2"},
        "matrix": {"driver": "keithley707b", "resource": "3"},
        "prober": {"driver": "mpi_sentio", "resource": "4", "overtravel_ceiling": "60 um"},
    },
    "wiring": {
        "channels": {"smu.smua": "A", "smu.smub": "B", "smu2.smua": "C", "smu2.smub": "D"},
        "ground": "H",
        "pads": PADS,
        "kernels": [{"rows": ["r0", "r1"], "cols": ["c0", "c1", "c2"]}],
    },
    "limits": {
        "v_towards_p": "1 V", "v_towards_ap": "1 V", "width": "10 ms", "compliance": "10 mA", "ramp_rate": "1000 V/s",
    },
    "contact": {
        "voltage": "15 mV", "limit": "20 uA", "structures": [["r0", "c0"], ["r1", "c2"]], "resistance": "50 kohm",
        "touches_per_die": 3,
    },
    "twin": {"ideal_instruments": True},
}  # fmt: skip


def die_file(diameter="80 nm"):
    return {
        "name": "small",
        "geometry": {"kind": "passive", "kernels": 1, "n_rows": 2, "n_cols": 3},
        "junction": {"diameter": diameter},
    }


def simulated(name, diameter="80 nm"):
    return SimDie(DieDescription.model_validate(die_file(diameter), context={"file": True}), seed=1, name=name)


class Station:
    """The bench's twin around a wafer that lies as `lies` says: from a die's place to where it really is."""

    def __init__(self, lies=lambda x, y: (x, y), dies=DIES, **contact):
        file = {**BENCH, "contact": {**BENCH["contact"], **contact}}
        self.bench = Bench.model_validate(file, context={"file": True})
        there = {(*lies(x, y), 0): simulated(f"x{x}y{y}", "160 nm" if (x, y) == MONITOR else "80 nm") for x, y in dies}
        every = [(x, y) for x in range(-3, 9) for y in range(-3, 9)]
        self.twin = Twin(self.bench, there, visited=every)
        load = next(iter(there.values()))
        self.opened = open_bench(self.bench, load.nominal, connect=self.twin.connect, wait=self.twin.wait)

    def prove(self, fiducials, **more):
        assert self.opened.prober is not None
        read = [Fiducial.model_validate(f, context={"file": True}) for f in fiducials]
        fits(self.opened.bench, read)
        return prove(PadGround(self.opened.die), self.opened.prober, read, DIES, **more)

    @property
    def touches(self):
        return self.twin.instruments["prober"].state.touches


FACTS = [
    {"at": "x0y0", "expect": "no contact"},
    {"at": "x4y3", "expect": "no contact"},
    {"at": "x1y0", "expect": "contact"},
    {"at": "x4y1", "expect": "contact"},
    {"at": "x3y3", "pads": ["r0", "c0"], "resistance": ["0.3 kohm", "1 kohm"]},
]


def test_a_wafer_that_lies_as_its_map_says_is_proved_with_one_touch_a_place():
    station = Station()
    results = station.prove(FACTS)
    assert [f.at for f in results] == [(0, 0), (4, 3), (1, 0), (4, 1), (3, 3)]
    assert [f.touches for f in results] == [1] * 5
    assert station.touches == 5
    assert [f.conducts for f in results] == [False, False, True, True, True]
    # R_P is 2.4 kohm and R_AP 5.3 kohm, beside sneak paths through three more cells
    assert 1e3 < results[2].resistance["r0-c0"] < 6e3
    assert results[4].resistance["r0-c0"] == pytest.approx(15e-3 / 20e-6)
    ledger = station.twin.ledger
    assert (ledger.hot_switches, ledger.moves_in_contact) == (0, 0)
    assert ledger.peak_cell_voltage <= 15e-3 * 1.001
    assert station.opened.prober.separated()
    station.opened.die.verify_off()


@pytest.mark.parametrize(
    ("lies", "words"),
    [
        (lambda x, y: (x - 1, y), "shifted: the needles stand 1 column to the right"),
        (lambda x, y: (x, y + 1), "shifted: the needles stand 1 row up"),
        (lambda x, y: (x + 1, y + 1), "shifted: the needles stand 1 column to the left and 1 row up"),
        (lambda x, y: (4 - x, 3 - y), "turned by 180 degrees"),
        (lambda x, y: (4 - x, y), "mirrored left to right"),
    ],
)
def test_a_wafer_that_lies_otherwise_refuses_to_start_and_says_how_it_lies(lies, words):
    station = Station(lies)
    facts = [
        *FACTS,
        {"at": "x0y1", "expect": "contact"},
        {"at": "x0y3", "expect": "no contact"},
        {"at": "x3y0", "expect": "no contact"},
        {"at": "x1y3", "expect": "contact"},
        {"at": "x2y0", "pads": ["r0", "c0"], "resistance": ["1 kohm", "6 kohm"]},
    ]
    with pytest.raises(BenchError, match="the wafer is not as its map says: at x") as error:
        station.prove(facts)
    assert words in str(error.value)
    assert str(error.value).endswith("The run does not start")
    assert station.opened.prober.separated()


def test_the_place_that_fails_is_named_with_what_was_found_and_expected():
    station = Station()
    facts = [{"at": "x2y1", "pads": ["r0", "c0"], "resistance": ["20 kohm", "30 kohm"]}, *FACTS[:1]]
    with pytest.raises(
        BenchError, match=r"at x2y1 r0-c0 is [0-9.]+ kohm, expected 20 kohm to 30 kohm\. The map may be"
    ):
        station.prove(facts)


def test_a_contact_where_there_should_be_no_die_is_told():
    with pytest.raises(BenchError, match=r"at x2y2 r0-c0 is .* kohm, .*, expected no contact, for there is no die"):
        Station().prove([{"at": "x2y2", "expect": "no contact"}])


def test_a_wafer_on_which_nothing_conducts_is_a_matter_of_contact():
    station = Station(lambda x, y: (x + 50, y))
    with pytest.raises(ContactError, match="No place conducts: the needles may not reach the pads"):
        station.prove(FACTS)
    # one touch where nothing should conduct, all that the contact check allows where something should
    assert station.touches == 2 + 3 * 3


def test_the_quota_of_touches_of_a_die_counts_what_it_had_before():
    station = Station(lambda x, y: (x + 50, y))
    with pytest.raises(ContactError):
        station.prove(FACTS[2:3], touches={(1, 0): 2})
    assert station.touches == 1
    with pytest.raises(BenchError, match="fiducial x1y0: the die there has used up its quota of 3 touches"):
        station.prove(FACTS[2:3], touches={(1, 0): 3})
    assert station.touches == 1


@pytest.mark.parametrize(
    ("contact", "fact", "words"),
    [
        ({"structures": []}, {"at": "x1y0", "expect": "contact"}, "names no pads, and the bench file has no contact"),
        ({}, {"at": "x1y0", "pads": ["r0", "z9"], "expect": "contact"}, "pad 'z9' is not in the wiring"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_moves(contact, fact, words):
    station = Station(**contact)
    with pytest.raises(BenchError, match=words):
        station.prove([FACTS[0] | {"pads": ["r0", "c0"]}, fact])
    assert station.touches == 0


@pytest.mark.parametrize(
    "fact",
    [
        {"at": "x1y0"},
        {"at": "x1y0", "expect": "contact", "resistance": ["1 kohm", "2 kohm"], "pads": ["r0", "c0"]},
        {"at": "x1y0", "resistance": ["1 kohm", "2 kohm"]},
        {"at": "x1y0", "resistance": ["3 kohm", "2 kohm"], "pads": ["r0", "c0"]},
        {"at": "column 1", "expect": "contact"},
    ],
)
def test_a_fiducial_says_one_fact(fact):
    with pytest.raises(ValidationError):
        Fiducial.model_validate(fact, context={"file": True})


def campaign(folder: Path, **wafer) -> RunSpec:
    """Write a campaign over a drawn wafer and read it with the bench and its twin."""
    bench = {**BENCH, "instruments": {k: {**v, "resource": k} for k, v in BENCH["instruments"].items()}}
    misfits = {
        "name": "proof",
        "wafer": {"file": "wafer.yaml", "die": "die.yaml", **wafer},
        "limits": {
            "v_towards_p": "0.6 V", "v_towards_ap": "0.6 V", "width": "10 ms", "compliance": "10 mA",
            "v_count": "300 mV", "pulses_per_cell": 1000,
        },
        "stages": [{"survey": {}}],
    }  # fmt: skip
    files = {
        "bench.yaml": bench,
        "die.yaml": die_file(),
        "wafer.yaml": {"name": "W1", "map": list(DRAWN), "fiducials": FACTS[:4]},
        "campaign.yaml": misfits,
    }
    for name, content in files.items():
        (folder / name).write_text(yaml.safe_dump(content), encoding="utf-8")
    return composition.read(folder / "campaign.yaml", bench=folder / "bench.yaml", sim="bytes")


def test_a_campaign_proves_its_wafer_and_lists_what_it_leaves_out(tmp_path):
    prepared = campaign(tmp_path, exclude=["x1y0"], only=["W1-x4y1", "W1-x1y0"])
    assert [s.name for s in prepared.subjects] == ["W1-x4y1"]
    assert [(s.name, s.excluded) for s in prepared.skipped] == [("W1-x1y0", "excluded by the campaign")]
    assert len(prepared.others) == len(DIES) - 1
    station = prepared.station
    assert station is not None
    with station.opened(lambda text: True, station.twin()) as body:
        results = body.prove(prepared.fiducials, (*prepared.subjects, *prepared.others))
    assert [f.conducts for f in results] == [False, False, True, True]


def test_subsites_are_subjects_of_their_own_and_the_needles_go_there(tmp_path):
    spots = [{"name": "a", "x": "0 um", "y": "0 um"}, {"name": "b", "x": "250 um", "y": "-120 um"}]
    prepared = campaign(tmp_path, only=["W1-x4y1", "W1-x1y1"], subsites=spots)
    assert [s.name for s in prepared.subjects] == ["W1-x4y1-a", "W1-x4y1-b", "W1-x1y1-a", "W1-x1y1-b"]
    assert [s.spot for s in prepared.subjects] == [(4, 1, 0), (4, 1, 1), (1, 1, 0), (1, 1, 1)]
    assert {s.die for s in prepared.subjects} == {"W1-x4y1", "W1-x1y1"}
    station = prepared.station
    assert station is not None
    with station.opened(lambda text: True, station.twin()) as body:
        body.approach(prepared.subjects[1])
        assert body.twin.world.place == (4, 1, 1)
        assert body.twin.world.in_contact
        twin = body.twin
    assert twin.dies[4, 1, 1].name == "W1-x4y1-b"


def test_a_run_whose_map_is_wrong_does_not_start_and_says_why_in_its_journal(tmp_path):
    prepared = campaign(tmp_path, only=["W1-x4y1"])
    wrong = replace(prepared, fiducials=(Fiducial(at=(4, 1), expect="no contact"),))
    with pytest.raises(BenchError, match=r"at x4y1 .* expected no contact"):
        start(tmp_path / "run", wrong, [], [], RunOptions(1))
    state = read_state(tmp_path / "run")
    assert (state.outcome, state.exit_code) == ("abort", 3)
    assert state.reason.startswith("the wafer is not as its map says: at x4y1")
    assert state.dies["W1-x4y1"].state is State.PENDING
    assert not list((tmp_path / "run" / "dies").iterdir())


def test_a_bench_that_cannot_go_to_the_fiducials_is_refused_when_files_are_read(tmp_path):
    campaign(tmp_path)
    path, bench = tmp_path / "bench.yaml", yaml.safe_load((tmp_path / "bench.yaml").read_text(encoding="utf-8"))
    del bench["instruments"]["prober"]
    path.write_text(yaml.safe_dump(bench), encoding="utf-8")
    with pytest.raises(BenchError, match="the wafer has fiducials, and the bench 'fiducials' has no prober"):
        composition.read(tmp_path / "campaign.yaml", bench=path)
    assert composition.read(tmp_path / "campaign.yaml").fiducials


def test_a_campaign_names_fiducials_of_its_own(tmp_path):
    campaign(tmp_path)
    written = yaml.safe_load((tmp_path / "campaign.yaml").read_text(encoding="utf-8"))
    written["fiducials"] = [{"at": "x4y2", "expect": "contact"}]
    (tmp_path / "campaign.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    fiducials = composition.read(tmp_path / "campaign.yaml").fiducials
    assert [f.name for f in fiducials] == ["x0y0", "x4y3", "x1y0", "x4y1", "x4y2"]
    del written["wafer"]
    written["dies"] = [{"name": "D", "file": "die.yaml", "at": [4, 2]}]
    (tmp_path / "campaign.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    assert [f.name for f in composition.read(tmp_path / "campaign.yaml").fiducials] == ["x4y2"]


def test_every_die_left_out_is_no_campaign(tmp_path):
    with pytest.raises(
        BenchError, match="every die is left out, expected at least one; W1-x1y0: excluded by the campaign"
    ):
        campaign(tmp_path, only=["W1-x1y0"], exclude=["x1y0"])
    with pytest.raises(BenchError, match="die W1-x9y9 is not on wafer W1"):
        campaign(tmp_path, only=["W1-x9y9"])
