"""Needles over whole nights: a compensated station measures every die, touches are counted, and none stay down.

Three dies of 3 x 4 cells side by side; what the chuck and the needles did is counted by the emulated station and world.
"""

from pathlib import Path

import pytest

from instruments.check_bench import check_bench
from labctl import files
from labctl.core.errors import BenchError, ContactError, InstrumentError
from labctl.core.events import Approached, DieEvent
from labctl.core.exit_codes import Status
from labctl.core.fiducial import Fiducial
from labctl.core.site import Site
from labctl.execution import die_job
from labctl.execution.die_job import Job, run_die
from labctl.execution.stop import Stop
from labctl.station.bench_setup import Station, on_bench, twin_of
from labctl.station.hand_session import bench_limits
from labctl.storage.event_rows import event_rows
from labctl.storage.journal import Journal
from protocols.by_hand import MapCells

BENCH = Path(__file__).parents[2] / "examples" / "bench-two-arrays.yaml"


@pytest.fixture
def night(small, tmp_path, monkeypatch):
    """Return a function that measures three dies on a twin that `prepare` may change, over `sim`."""
    monkeypatch.setattr(die_job, "seal_in_subprocess", lambda folder, die: "")

    def run(prepare=lambda twin: None, sim="bytes", by_hand=False, prober=None, temperature=None, **contact):
        file = {**small.BENCH, "contact": {**small.BENCH["contact"], **contact}}
        own = small.BENCH["instruments"]
        file["instruments"] = {**own, "prober": {**own["prober"], **(prober or {})}}
        bench = small.Bench.model_validate(file, context={"file": True})
        subjects = [Site(f"D{k}", small.description(), 5 + k, (k, 0)) for k in range(1 if by_hand else 3)]
        twin = twin_of(bench, subjects, sim, by_hand=by_hand)
        prepare(twin)
        results = []
        with on_bench(bench, subjects, sim, twin=twin, by_hand=by_hand) as body:
            body.temperature = temperature
            for subject in subjects:
                job = Job(tmp_path, subject, bench_limits(bench))
                results.append(run_die(job, (MapCells(kernel=0),), lambda *message: None, Stop(), body))
        return twin, results

    return run


def compensated(offset, levels):
    def prepare(twin):
        twin.instruments["prober"].state.compensation = offset
        twin.instruments["prober"].state.compensated = levels

    return prepare


def assert_unharmed(twin):
    ledger = twin.ledger
    assert (ledger.hot_switches, ledger.moves_in_contact, ledger.fights) == (0, 0, 0), ledger.events
    assert not twin.world.closed
    assert all(0 < volts <= 15e-3 * (1 + 1e-9) for volts in ledger.first_bias), ledger.first_bias


@pytest.mark.parametrize(
    ("levels", "sim"),
    [(("contact", "separation", "hover"), "bytes"), (("contact",), "bytes"), (("contact",), "tcp")],
    ids=["all levels", "contact alone", "over sockets"],
)
@pytest.mark.parametrize("offset", [-100, -60, -40, 20, 100])
def test_every_die_of_a_compensated_station_is_measured_and_no_needle_stays_down(night, offset, levels, sim):
    twin, results = night(compensated(offset, levels), sim)
    assert [r.outcome.status for r in results] == [Status.SUCCESS] * 3
    prober = twin.instruments["prober"]
    assert (prober.state.touches, len(twin.ledger.first_bias)) == (3, 3)
    assert prober.level == "separation"
    assert not twin.world.in_contact
    assert_unharmed(twin)


@pytest.mark.parametrize("offset", [-60, 100])
def test_needles_that_a_dead_session_left_down_are_lifted_before_the_first_step(night, offset):
    def prepare(twin):
        compensated(offset, ("contact", "separation"))(twin)
        prober = twin.instruments["prober"]
        prober.handle(b"map:step_die 2, 0, 0\n")
        prober.handle(b"move_chuck_contact\n")

    twin, results = night(prepare)
    assert [r.outcome.status for r in results] == [Status.SUCCESS] * 3
    assert twin.instruments["prober"].state.touches == 4
    ledger = twin.ledger
    assert (ledger.hot_switches, ledger.moves_in_contact, ledger.fights) == (0, 0, 0), ledger.events
    assert ledger.first_bias[0] == 0.0
    assert all(10e-3 < volts <= 15e-3 for volts in ledger.first_bias[1:])
    assert not twin.world.in_contact


@pytest.mark.parametrize("short", [40, 150])
def test_a_chuck_that_stops_short_fails_every_die_with_the_needles_up(night, short):
    def prepare(twin):
        twin.instruments["prober"].state.short = short

    twin, results = night(prepare)
    assert [r.outcome.status for r in results] == [Status.FAIL] * 3
    assert all("no contact" in r.outcome.reason or "did not reach" in r.outcome.reason for r in results)
    assert twin.instruments["prober"].state.touches == 6
    assert twin.instruments["prober"].level == "separation"
    assert not any(twin.ledger.first_bias)


@pytest.mark.parametrize("offset", [0, -60, 100])
def test_by_hand_the_first_voltage_is_that_of_the_contact_check(night, offset):
    twin, (result,) = night(compensated(offset, ("contact",)), by_hand=True)
    assert result.outcome.status is Status.SUCCESS
    assert twin.world.in_contact
    assert twin.instruments["prober"].state.touches == 0
    assert len(twin.ledger.first_bias) == 1
    assert_unharmed(twin)


@pytest.mark.parametrize(("offset", "good"), [(0, True), (-60, False)])
def test_by_hand_open_structures_count_where_the_heights_are_in_doubt(small, offset, good):
    bench = small.Bench.model_validate(small.BENCH, context={"file": True})
    subject = Site("D", small.description(open=1.0), 5)
    twin = twin_of(bench, [subject], "bytes", by_hand=True)
    compensated(offset, ("contact",))(twin)
    with on_bench(bench, [subject], "bytes", twin=twin, by_hand=True) as body:
        if good:
            assert body.approach(subject).notes["no_contact"].startswith("no contact: r0-c0 open")
        else:
            with pytest.raises(ContactError, match="r0-c0 open"):
                body.approach(subject)
    assert twin.world.in_contact


def test_a_die_is_left_off_grounded_and_only_then_lifted(night):
    seen = []

    def prepare(twin):
        touch = twin.world.touch

        def watched(down):
            if down != twin.world.in_contact:
                outputs = [c.set.output for k in (1, 2) for c in twin.instruments[f"smu{k}"].smus.values()]
                seen.append((down, sorted(twin.world.closed), any(outputs)))
            touch(down)

        twin.world.touch = watched

    night(prepare)
    grounded = [("matrix.H", f"matrix.1-{1 + j:02d}") for j in range(7)]
    assert seen == [(down, grounded, False) for _ in range(3) for down in (True, False)]


def test_a_station_that_steps_in_words_only_measures_no_die_under_another_name(night):
    def prepare(twin):
        prober = twin.instruments["prober"]
        prober.handle(b"map:step_die 0, 0, 0\n")
        prober.state.stuck = "chuck"

    twin, results = night(prepare)
    assert results[0].outcome.status is Status.SUCCESS
    assert all(r.outcome.status is not Status.SUCCESS for r in results[1:])
    assert all("the chuck moved by 0 um in x" in r.outcome.reason for r in results[1:])
    assert twin.instruments["prober"].state.touches == 1


@pytest.mark.parametrize(("offset", "down"), [(-60, True), (-60, False), (0, True), (0, False)])
def test_check_tells_a_chuck_that_stands_off_its_heights_and_moves_nothing(small, offset, down):
    bench = small.Bench.model_validate(small.BENCH, context={"file": True})
    twin = twin_of(bench, [Site("D", small.description(), 5)], "bytes", by_hand=down)
    compensated(offset, ("contact", "separation"))(twin)
    (seen,) = (one for one in check_bench(bench, connect=twin.connect) if one.name == "prober")
    where = "in contact" if down else "separated by its heights"
    assert f"chuck {where}" in seen.state[0]
    assert ("60.0 um" in seen.state[0]) == bool(offset)
    assert "StepToSeparation is set before the first step" in seen.state[2]
    assert any("the station compensates the contact" in line for line in seen.wrong) == (down and bool(offset))
    assert twin.world.in_contact is down
    assert twin.ledger.relay_operations == 0


@pytest.mark.parametrize(
    ("old", "new"), [("landing: grounded", ""), ("between_routes: open", "between_routes: grounded")]
)
def test_ground_that_is_not_wired_is_refused_with_file_and_line(small, tmp_path, old, new):
    text = BENCH.read_text().replace("  ground: H ", "  # ground: H ")
    text = text.replace(old, new or old) if new else text
    path = tmp_path / "bench.yaml"
    path.write_text(text)
    key = (new or old).partition(":")[0]
    line = next(number for number, words in enumerate(text.splitlines(), 1) if words.strip().startswith(new or old))
    with pytest.raises(BenchError, match=f"'{key}: grounded' needs a ground row") as caught:
        files.read(path, small.Bench)
    assert f"bench.yaml:{line}" in str(caught.value)


def approaches(folder, dies):
    """Return what the journals say of the approach of each die."""
    notes = []
    for name in dies:
        with Journal.open(folder / "dies" / name, readonly=True) as journal:
            rows = [row.event for row in event_rows(DieEvent, journal.events())]
        notes += [event.notes for event in rows if isinstance(event, Approached)]
    return notes


def test_needles_are_cleaned_when_it_is_due_and_bins_are_on_the_map_of_the_station(night, tmp_path):
    twin, results = night(prober={"clean_every": 2, "clean_touchdowns": 4, "bins_on_map": True})
    assert [r.outcome.status for r in results] == [Status.SUCCESS] * 3
    prober = twin.instruments["prober"]
    assert (prober.state.touches, prober.state.cleaned, prober.level) == (3, 4, "separation")
    assert prober.bins.bins == {(k, 0, None): 99 for k in range(3)}
    notes = approaches(tmp_path, ["D0", "D1", "D2"])
    assert [note.get("cleaned") for note in notes] == [None, None, ["2 touches"]]
    assert_unharmed(twin)


@pytest.mark.parametrize("ends", [False, True], ids=["ends separated", "ends in contact"])
def test_needles_whose_contact_fails_are_cleaned_once_before_they_touch_again(night, tmp_path, ends):
    def prepare(twin):
        state, commands = twin.instruments["prober"].state, twin.instruments["prober"]._commands
        state.short, state.ends_cleaning_in_contact = 40, ends
        clean = commands["aux:cleaning:start"]

        def cleaned(arguments):
            state.short = 0.0  # what kept the needles from the pads is gone
            return clean(arguments)

        commands["aux:cleaning:start"] = cleaned

    twin, results = night(prepare, prober={"clean_on_bad_contact": True})
    assert [r.outcome.status for r in results] == [Status.SUCCESS] * 3
    assert [note.get("cleaned") for note in approaches(tmp_path, ["D0", "D1", "D2"])] == [["no contact"], None, None]
    assert twin.ledger.hot_switches == twin.ledger.moves_in_contact == 0, twin.ledger.events
    assert not twin.world.in_contact


def test_a_station_without_a_cleaning_substrate_ends_the_die_with_its_reason_and_the_needles_up(night):
    def prepare(twin):
        twin.instruments["prober"].state.short = 40
        twin.instruments["prober"].state.cleaning = False

    twin, results = night(prepare, prober={"clean_on_bad_contact": True})
    assert [r.outcome.status for r in results] == [Status.FAIL] * 3
    assert "this station has no such module" in results[0].outcome.reason
    assert not twin.world.in_contact
    assert twin.ledger.hot_switches == 0


HOT = {"hottest": "400 K", "soak": "30 s"}


def test_the_chuck_is_at_the_temperature_of_the_campaign_before_the_first_die_and_every_die_says_so(night, tmp_path):
    twin, results = night(prober={**HOT, "compensates_temperature": True}, temperature=358.15)
    assert [r.outcome.status for r in results] == [Status.SUCCESS] * 3
    assert twin.instruments["prober"].state.setpoint == 85.0
    notes = approaches(tmp_path, ["D0", "D1", "D2"])
    assert [note["chuck_temperature"] for note in notes] == pytest.approx([358.15] * 3, abs=0.5)
    assert twin.world.now > 60 + 30, "1 K a second, and the soak"
    assert_unharmed(twin)


def test_needles_stay_up_after_a_change_until_contact_was_trained_again(night):
    twin, results = night(prober=HOT, temperature=358.15)
    assert [r.outcome.status for r in results] == [Status.FAIL] * 3
    assert all("train contact at the station, then resume" in r.outcome.reason for r in results)
    assert (twin.instruments["prober"].state.touches, twin.world.in_contact) == (0, False)
    assert twin.instruments["prober"].state.setpoint == 85.0, "as it was set; nobody cools it down"


def test_a_die_after_one_whose_chuck_was_too_slow_touches_no_more_than_it(night):
    """The second die finds the chuck at its temperature: 57 of 60 K in the patience of the first."""
    twin, results = night(
        lambda twin: setattr(twin.instruments["prober"].state, "ramp", 0.19),
        prober={**HOT, "heating_patience": "300 s"}, temperature=358.15,
    )  # fmt: skip
    reasons = [r.outcome.reason for r in results]
    assert "after 300 s" in reasons[0], reasons
    assert all("train contact at the station, then resume" in reason for reason in reasons[1:]), reasons
    assert twin.instruments["prober"].state.touches == 0


@pytest.mark.parametrize(
    ("prepare", "more", "words"),
    [
        (lambda state: setattr(state, "thermo", False), {}, "this station has no such module"),
        (lambda state: setattr(state, "thermo_lost", "Error"), {}, "the thermo chuck is in the state 'error'"),
        (lambda state: setattr(state, "ramp", 1e-3), {"heating_patience": "60 s"}, "after 60 s, set to 358.15 K"),
        (lambda state: None, {"hottest": "350 K"}, "the campaign says 358.15 K, and the chuck of the bench file goes"),
    ],
    ids=["none", "in error", "slow", "too hot"],
)
def test_a_chuck_that_does_not_come_to_its_temperature_ends_the_die_with_the_needles_up(night, prepare, more, words):
    twin, results = night(
        lambda twin: prepare(twin.instruments["prober"].state), prober={**HOT, **more}, temperature=358.15
    )
    assert all(words in r.outcome.reason for r in results), results[0].outcome.reason
    assert not twin.world.in_contact
    assert twin.instruments["prober"].state.touches == 0


def test_nothing_sets_a_chuck_unless_the_bench_file_asks_for_it(night, tmp_path):
    twin, results = night(temperature=358.15)
    assert [r.outcome.status for r in results] == [Status.SUCCESS] * 3
    assert twin.instruments["prober"].state.setpoint == 25.0
    assert "chuck_temperature" not in approaches(tmp_path, ["D0"])[0]


def test_the_map_is_proved_at_the_temperature_of_the_dies(small):
    own = small.BENCH["instruments"]
    hot = {**HOT, "soak": "0 s", "compensates_temperature": True}
    bench = small.Bench.model_validate(
        {**small.BENCH, "instruments": {**own, "prober": {**own["prober"], **hot}}}, context={"file": True}
    )
    subjects = (Site("D0", small.description(), 5, (0, 0)),)
    fiducials = (Fiducial(at=(0, 0), expect="contact"), Fiducial(at=(1, 0), expect="no contact"))
    station = Station(bench, subjects, sim="bytes", fiducials=fiducials, temperature=358.15)
    twin, leases, seen = station.twin(), [], []
    commands = twin.instruments["prober"]._commands
    touch, chuck = commands["move_chuck_contact"], twin.instruments["prober"].state
    commands["move_chuck_contact"] = lambda arguments: seen.append(chuck.temperature) or touch(arguments)
    with station.opened(lambda text: True, twin, lease=leases.append) as body:
        assert len(body._fiducials) == 2
    assert (min(seen), leases) == (pytest.approx(85.0, abs=0.5), [300.0 + 3600.0])


def cassette_station(small):
    """Return the station of a bench with a cassette, and its two dies, of the wafer of slot 3."""
    own = small.BENCH["instruments"]
    file = {**small.BENCH, "instruments": {**own, "prober": {**own["prober"], "cassette": "cas1"}}}
    bench = small.Bench.model_validate(file, context={"file": True})
    subjects = tuple(Site(f"D{k}", small.description(), 5 + k, (k, 0), wafer="W03") for k in range(2))
    return Station(bench, subjects, sim="bytes", slot=3)


def test_a_wafer_whose_alignment_was_refused_is_never_touched_although_its_station_keeps_a_home(small):
    station = cassette_station(small)
    twin = station.twin()
    prober = twin.instruments["prober"]
    prober.state.home = prober.state.keeps_home = True
    prober.loader.aligns = False
    for _ in range(2):
        with pytest.raises(InstrumentError, match="the pattern was not found"), station.opened(lambda text: True, twin):
            pytest.fail("no die is approached")
    assert (prober.loader.on_chuck, prober.state.touches) == (("cas1", 3, ""), 0)


def test_a_wafer_comes_from_its_slot_is_aligned_and_measured_and_each_die_says_so(small, tmp_path, monkeypatch):
    monkeypatch.setattr(die_job, "seal_in_subprocess", lambda folder, die: "")
    station = cassette_station(small)
    twin, leases = station.twin(), []
    with station.opened(lambda question: False, twin, lease=leases.append) as body:
        for subject in station.subjects:
            job = Job(tmp_path, subject, bench_limits(station.bench))
            result = run_die(job, (MapCells(kernel=0),), lambda *message: None, Stop(), body)
            assert result.outcome.status is Status.SUCCESS, result.outcome
    loader = twin.instruments["prober"].loader
    assert (loader.on_chuck, leases) == (("cas1", 3, ""), [300.0 + 3 * 600.0])
    wafer = {"name": "W03", "slot": 3, "id": "", "aligned": True, "by": "loaded by the prober"}
    assert [note["wafer"] for note in approaches(tmp_path, ["D0", "D1"])] == [wafer] * 2
    assert_unharmed(twin)
