"""Every command of the driver against transcripts of the manual's facts; leftovers fail."""

import math
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from instruments.keithley2600b import Keithley2600B, Keithley2600BOptions
from instruments.keithley2600b_models import MODELS, SHORTEST_PULSE
from instruments.keithley2600b_script import COUNTED_STEPS
from instruments.transcript import TranscriptReplay, parse
from instruments.tsp import LONGEST_CHUNK, parse_numbers
from labctl.core.errors import BenchError, InstrumentError, LinkTimeoutError, NotDriven
from labctl.core.operations import Flag
from labctl.core.source import Aperture, ChannelSetup, Hold, Level, Limit, Measure, Ramp, SourceMeasure, Watch
from labctl.core.transport import Wait

FILES = Path(__file__).parents[2] / "golden" / "transcripts"
SETUP = ChannelSetup(range_v=0.6, limit=2.5e-7, range_i=2.5e-7, cold_limit=2.5e-7)


def pairs(name):
    return parse((FILES / f"2600b-{name}.txt").read_text(encoding="ascii"))


def replay(name, *, prepared=False):
    """Return the replay of a transcript; `prepared` for one that begins after `smua` was set up."""
    return TranscriptReplay([*(pairs("prepare") if prepared else ()), *pairs(name)], name)


def prepared(talk, **arguments):
    smu = Keithley2600B(talk, "smu1", output_enable=True, **arguments)
    smu.prepare({"smua": SETUP})
    return smu


def test_connecting_reads_identity_mains_and_state_and_sets_nothing():
    with replay("connect") as talk:
        smu = Keithley2600B(talk, "smu1")
        assert isinstance(smu, SourceMeasure)
        assert "2602B" in smu.connect()
        assert smu.capabilities.apertures == (pytest.approx(20e-6), pytest.approx(0.5))
        assert smu.old_errors == ("1115 Parameter error: channel does not exist",)


def test_another_model_than_the_bench_file_says_is_refused():
    talk = [(">", "*IDN?"), ("<", "Keithley Instruments Inc., Model 2636B, 1, 1")]
    with TranscriptReplay(talk) as wire, pytest.raises(BenchError, match="2602B"):
        Keithley2600B(wire, "smu1").connect()


@pytest.mark.parametrize("frequency", ["9.910000000e+37", "6.300000000e+01", "nan"])
def test_a_mains_frequency_that_is_none_is_refused_when_connecting(frequency):
    talk = pairs("connect")
    at = next(k for k, (_, text) in enumerate(talk) if "localnode.linefreq" in text)
    words = re.escape(f"smu1: 'localnode.linefreq' was answered by '{float(frequency):g}'; expected a mains frequency")
    with TranscriptReplay([*talk[: at + 1], ("<", frequency)]) as wire, pytest.raises(InstrumentError, match=words):
        Keithley2600B(wire, "smu1").connect()


def test_an_output_goes_on_after_every_setting_was_read_back():
    with replay("output", prepared=True) as talk:
        prepared(talk).output(["smua"])


@pytest.mark.parametrize(
    ("attribute", "other", "words"),
    [
        ("source.limiti", 0.0, "source.limiti is 0 after 2.5e-07 was set"),
        ("measure.rel.enablei", 1.0, "measure.rel.enablei is 1 after 0 was set"),
        ("measure.delay", 20.0, "measure.delay is 20 after 0 was set"),
    ],
)
def test_a_setting_that_is_not_taken_keeps_the_output_off(attribute, other, words):
    talk = pairs("prepare")
    at = max(k for k, (_, text) in enumerate(talk) if text.startswith("print(") and f"smua.{attribute}" in text)
    names = talk[at][1].split('",')[1].rstrip(")").split(",")
    values = talk[at + 1][1].split(",")
    values[names.index(f"smua.{attribute}")] = f"{other:.9e}"
    with (
        TranscriptReplay([*talk[: at + 1], ("<", ",".join(values)), *talk[at + 2 :]]) as wire,
        pytest.raises(InstrumentError, match=f"{words}; the output stays off"),
    ):
        prepared(wire)


def test_a_limit_that_changed_since_keeps_the_output_off():
    with replay("limit-lost", prepared=True) as talk:
        smu = prepared(talk)
        with pytest.raises(InstrumentError, match=r"source.limiti is 0.1 after 2.5e-07 .*the output stays off"):
            smu.output(["smua"])


def test_a_refused_setting_is_told_in_the_words_of_the_instrument():
    talk = pairs("prepare")
    at = next(k for k, (_, text) in enumerate(talk) if " smua.source.func=" in text)
    queue = [
        ("<", "1.00000e+00"),
        (">", "print(mtj_e or 0) mtj_e=nil"),
        ("<", "0.00000e+00"),
        (">", 'print(string.format("%d\\t%s\\t%d",errorqueue.next()))'),
        ("<", "-2.21000e+02\tSettings conflict\t2.00000e+01\t1.00000e+00"),
        (">", 'print(string.format("%d\\t%s\\t%d",errorqueue.next()))'),
        ("<", "0.00000e+00\tQueue Is Empty\t0.00000e+00\t1.00000e+00"),
    ]
    with (
        TranscriptReplay([*talk[: at + 1], *queue]) as wire,
        pytest.raises(InstrumentError, match=r"refused 'smua.source.func=.*-221 Settings conflict"),
    ):
        prepared(wire)


def test_an_output_that_does_not_go_on_is_an_error_that_names_the_interlock():
    with replay("does-not-switch-on", prepared=True) as talk:
        smu = prepared(talk)
        with pytest.raises(InstrumentError, match="interlock"):
            smu.output(["smua"])


def state(channel, *values):
    """Return the question for the state of a channel and an answer: output, func, levelv, leveli, limiti, limitv."""
    names = ("output", "func", "levelv", "leveli", "limiti", "limitv")
    ask = ",".join(f"{channel}.source.{name}" for name in names)
    digits = ",".join(["%.9e"] * len(names))
    return [(">", f'print(string.format("{digits}",{ask}))'), ("<", ",".join(f"{v:.9e}" for v in values))]


@pytest.mark.parametrize(
    ("values", "words"),
    [((1, 1, 0.3, 0, 0.1, 40), "on at 0.3 V"), ((1, 0, 0, 1e-6, 0.1, 40), "on at 1e-06 A, forcing a current")],
)
def test_a_channel_that_is_on_is_not_set_up(values, words):
    talk = [*state("smua", *values), *state("smub", 0, 1, 0, 0, 0.1, 40)]
    with TranscriptReplay(talk) as wire, pytest.raises(InstrumentError, match=words):
        Keithley2600B(wire, "smu1").prepare({"smua": SETUP})


def test_an_output_whose_relay_is_open_is_off_and_a_level_that_is_left_is_not_safe():
    with TranscriptReplay([*state("smua", 2, 1, 0, 0, 0.1, 40), *state("smub", 0, 1, 0, 0, 0.1, 40)]) as wire:
        Keithley2600B(wire, "smu1").verify_off()
    talk = [*state("smua", 0, 0, 0, 1e-6, 0.1, 40), *state("smub", 0, 1, 0, 0, 0.1, 40)]
    with TranscriptReplay(talk) as wire, pytest.raises(InstrumentError, match=r"NOT verified off: output off.*1e-06 A"):
        Keithley2600B(wire, "smu1").verify_off()


@pytest.mark.parametrize("prompt", ["TSP>", "TSP?"])
def test_an_instrument_that_speaks_unasked_is_refused_by_the_name_of_the_setting(prompt):
    identity = "Keithley Instruments Inc., Model 2602B, 4000001, 3.2.2"
    asked = 'print("unasked-1",string.format("%d,%d",localnode.prompts,localnode.showerrors))'
    talk = [(">", "*IDN?"), ("<", prompt), ("<", identity), (">", asked), ("<", prompt), ("<", "unasked-1\t1,0")]
    with TranscriptReplay(talk) as wire, pytest.raises(BenchError, match=r"smu1: localnode.prompts is 1.*labctl off"):
        Keithley2600B(wire, "smu1").connect()


def test_an_output_that_was_not_set_up_stays_off():
    with TranscriptReplay([]) as talk, pytest.raises(InstrumentError, match="has not been set up"):
        Keithley2600B(talk, "smu1").output(["smua"])


def test_a_pulse_and_its_readings_are_one_script_with_flags_beside_each_reading():
    with replay("script", prepared=True) as talk:
        smu = prepared(talk)
        steps = [
            Limit("smua", 1e-7, 1e-6),
            Aperture("smua", 0.05 / 60),
            Ramp("smua", 0.1, 100.0),
            Watch("smua"),
            Level("smua", 0.3),
            Hold(2e-3),
            Watch("smua"),
            Level("smua", 0.0),
            Measure("smua"),
            Measure("smua", voltage=True),
        ]
        before, during, good, over = smu.run(steps)
    assert (before.flag, during.flag) == (Flag(0), Flag.COMPLIANCE)
    assert (good.current, good.flag) == (1.2345e-8, Flag(0))
    assert math.isnan(over.current)
    assert over.flag == Flag.COMPLIANCE | Flag.OVERRANGE
    assert over.voltage == 2e-4


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (r"1e-8\t0\t0\t1e-1;false\t0\t1e-1", r"smu1\.smua: its output is off.*interlock"),
        (r"1e-8\t0\t1\t1e-1;false\t2\t1e-1", r"smu1\.smua: its output is off.*interlock"),
        (r"1e-8\t0\t1\t9e-2;false\t1\t1e-1", r"smu1\.smua is at 0\.09 V, and 0\.1 V was set"),
        (r"1e-8\t0\t1\t1e-1;false\t1\t0", r"smu1\.smua is at 0 V, and 0\.1 V was set"),
        (r"1e-8\t0\t1\tnan;false\t1\t1e-1", r"smu1\.smua is at nan V"),
        (r"1e-8\t0;false\t1\t1e-1", "'1e-8\t0' does not tell of the output"),
        ("false\\t1\\t1e-1", "1 readings expected, 0 came"),
        ("", "the states of 1 channels expected"),
    ],
)
def test_a_reading_is_not_accepted_without_its_output_and_level(reply, words):
    steps = "smua.measure.nplc=6.000000000e-02 smua.source.levelv=1.000000000e-01 r[2]=mtj_i(smua,mtj_m.smua)"
    script = f"""> mtj_e=errorqueue.count mtj_r={{"done-1"}} mtj_run(5.140000000e-01,function(r) {steps} end)
| print(errorqueue.count,table.concat(mtj_r or {{}},";"))
< 0.00000e+00\\tdone-1{reply and ";"}{reply}{reply and ";0"}
"""
    with TranscriptReplay([*pairs("prepare"), *pairs("output"), *parse(script)]) as wire:
        smu = prepared(wire)
        smu.output(["smua"])
        with pytest.raises(InstrumentError, match=words):
            smu.run([Aperture("smua", 1e-3), Level("smua", 0.1), Measure("smua")])


def test_a_script_that_aborts_is_known_at_once_and_not_by_a_timeout():
    with replay("script-aborts", prepared=True) as talk:
        smu = prepared(talk)
        with pytest.raises(InstrumentError, match=r"-286 .*current limit not taken") as caught:
            smu.run([Limit("smua", 1e-7, 1e-6), Level("smua", 0.1)])
        assert not isinstance(caught.value, LinkTimeoutError)


def test_a_long_script_goes_out_in_lines_between_its_keywords():
    sent = []

    class Wire(TranscriptReplay):
        def _send(self, data, deadline):
            if data.startswith(b"loadandrunscript"):
                sent.extend(data.decode().splitlines())
                self._remaining = [("<", "0\tdone-1;false\t1\t3.9e-1;0")]
            else:
                super()._send(data, deadline)

    talk = Wire([*pairs("prepare"), *pairs("output")])
    smu = prepared(talk)
    smu.output(["smua"])
    smu.run([Level("smua", k / 100) for k in range(40)])
    assert (sent[0], sent[-2]) == ("loadandrunscript", "endscript")
    assert len(sent[1:-2]) == 2
    assert max(len(line) for line in sent) <= LONGEST_CHUNK
    body = " ".join(f"smua.source.levelv={k / 100:.9e}" for k in range(40))
    assert (
        " ".join(sent[1:-2])
        == f'mtj_e=errorqueue.count mtj_r={{"done-1"}} mtj_run(5.800000000e-01,function(r) {body} end)'
    )


class Answering(TranscriptReplay):
    """Set up and switched on by transcripts; answers a script with `texts`, and keeps it and the wait for its answer.

    The host waits for an answer `extra` s beside the deadline of its class. It says that it has carried out `more`
    steps than it has.
    """

    def __init__(self, *texts, more=0):
        super().__init__([*pairs("prepare"), *pairs("output")])
        self.texts, self.scripts, self.extra, self.more = texts, [], [], more

    def converse(self, text, last, *, wait=Wait.QUERY, extra=0.0):
        self.extra.append(extra)
        return super().converse(text, last, wait=wait, extra=extra)

    def _send(self, data, deadline):
        if b"mtj_run(" in data and b"function mtj_run" not in data:
            self.scripts.append(data.decode())
            steps = sum(data.count(begin.encode()) for begin in COUNTED_STEPS)
            self._remaining = [("<", "0\t" + ";".join(["done-1", *self.texts, str(steps + self.more)]))]
        else:
            super()._send(data, deadline)

    def ready(self):
        """Return its driver, with `smua` on at 0 V."""
        smu = prepared(self)
        smu.output(["smua"])
        return smu


@pytest.mark.parametrize(
    ("steps", "texts", "seconds"),
    [
        # one statement for each step; three apertures and one more for a reading, at 60 Hz; twice, with slack
        ([Level("smua", 0.1)], [], 0.5 + 2 * 1e-3),
        ([Aperture("smua", 25 / 60), Measure("smua")], ["1e-6\t0\t1\t0"], 0.5 + 2 * (2e-3 + 3 * 25 / 60 + 1e-3)),
        (
            [Aperture("smua", 1e-3), Measure("smua"), Measure("smua", voltage=True)],
            ["1e-6\t0\t1\t0", "1e-6\t0\t0\t1\t0"],
            0.5 + 2 * (3e-3 + 2 * 4e-3),
        ),
        ([Measure("smua")], ["1e-6\t0\t1\t0"], 0.5 + 2 * (1e-3 + 3 * 25 / 60 + 1e-3)),
        ([Hold(7.0), Level("smua", 0.1), Ramp("smua", -0.1, 100.0)], [], 0.5 + 2 * (3e-3 + 7.0 + 20 * 1.1e-3)),
    ],
)
def test_a_script_has_the_time_of_its_steps_and_readings_and_the_host_a_little_more(steps, texts, seconds):
    end = ([0.0] + [step.volts for step in steps if isinstance(step, Level | Ramp)])[-1]
    talk = Answering(*texts, f"false\t1\t{end}")
    assert len(talk.ready().run(steps)) == len(texts)
    (script,) = talk.scripts
    assert float(re.search(r"mtj_run\(([^,]+),", script)[1]) == pytest.approx(seconds, rel=1e-9)
    assert talk.extra[-1] == pytest.approx(seconds + 0.5, rel=1e-9)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Level("smua", 0.61), "0.61 V asked for, set up for at most 0.6 V"),
        (Level("smua", math.nan), "nan V asked for"),
        (Ramp("smua", -0.61, 1.0), "-0.61 V"),
        (Limit("smua", 2.6e-7, 1e-6), "2.6e-07 A asked for"),
        (Limit("smua", 0.0, 1e-6), "limit of 0 A"),
        (Level("smub", 0.1), "smub has not been set up"),
    ],
)
def test_what_a_channel_is_not_set_up_for_is_refused_and_nothing_is_sent(step, words):
    with replay("output", prepared=True) as talk:
        smu = prepared(talk)
        smu.output(["smua"])
        with pytest.raises(InstrumentError, match=words):
            smu.run([Level("smua", 0.1), step])


def test_the_emergency_order_is_abort_ramp_zero_off_read_back():
    with replay("off") as talk:
        Keithley2600B(talk, "smu1").off(rate=100.0)


def test_an_output_that_stays_on_needs_a_person_and_the_other_channel_was_tried():
    with replay("off-fails") as talk, pytest.raises(InstrumentError, match=r"smua is NOT verified off.*needs a person"):
        Keithley2600B(talk, "smu1").off()


def test_what_failed_on_the_way_is_told_with_an_output_that_stays_on():
    class Deaf(TranscriptReplay):
        def write(self, text):
            raise InstrumentError("abort was not taken")

    _, *rest = pairs("off-fails")
    with Deaf(rest[2:]) as talk, pytest.raises(InstrumentError) as caught:
        Keithley2600B(talk, "smu1").off()
    assert re.fullmatch("smu1.smua is NOT verified off: .*; abort was not taken", str(caught.value))


def test_off_over_a_link_that_does_not_answer_is_given_up_at_once():
    wired = []

    class Mute(TranscriptReplay):
        def write(self, text):
            wired.append(text)
            raise LinkTimeoutError("no answer")

    with Mute([]) as talk, pytest.raises(LinkTimeoutError, match="no answer"):
        Keithley2600B(talk, "smu1").off()
    assert wired == ["abort"]


def test_closing_leaves_what_was_set_up_in_the_state_of_the_night():
    with replay("close", prepared=True) as talk:
        prepared(talk).close()


def test_closing_a_source_that_was_only_looked_at_changes_nothing():
    with TranscriptReplay([]) as talk:
        Keithley2600B(talk, "smu1").close()


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_ascending_ranges_and_its_channels(model):
    with TranscriptReplay([]) as talk:
        capabilities = Keithley2600B(talk, "smu", model=model).capabilities
    assert list(capabilities.ranges_v) == sorted(capabilities.ranges_v)
    assert list(capabilities.ranges_i) == sorted(capabilities.ranges_i)
    assert len(capabilities.channels) == (1 if model in ("2601B", "2611B", "2635B") else 2)
    assert capabilities.shortest_pulse == SHORTEST_PULSE >= 1e-4


def test_what_a_model_does_not_have_is_refused_before_anything_is_sent():
    with TranscriptReplay([]) as talk:
        with pytest.raises(BenchError, match="not one of"):
            Keithley2600B(talk, "smu", model="2400")
        with pytest.raises(BenchError, match="always acts"):
            Keithley2600B(talk, "smu", model="2636B", output_enable=True)
        smu = Keithley2600B(talk, "smu", model="2611B")
        with pytest.raises(BenchError, match="no channel 'smub'"):
            smu.prepare({"smub": SETUP})
        with pytest.raises(BenchError, match="beyond the source ranges"):
            smu.prepare({"smua": ChannelSetup(range_v=300.0, limit=1e-6, range_i=1e-6)})
        with pytest.raises(BenchError, match="beyond the current ranges"):
            smu.prepare({"smua": ChannelSetup(range_v=1.0, limit=1e-6, range_i=20.0)})
        for cold in (1.1e-6, 0.0, math.nan):
            setup = ChannelSetup(range_v=1.0, limit=1e-6, range_i=1e-6, cold_limit=cold)
            with pytest.raises(BenchError, match=r"a cold limit of .*at most that"):
                smu.prepare({"smua": setup})


@pytest.mark.parametrize(("reply", "numbers"), [("1.5e-07\ttrue", [1.5e-7, 1.0]), ("-1, 2", [-1.0, 2.0])])
def test_numbers_are_read_whatever_parts_them(reply, numbers):
    assert parse_numbers(reply) == numbers


def test_a_reply_that_is_no_number_is_an_error_and_not_a_guess():
    with pytest.raises(InstrumentError, match="nil"):
        parse_numbers("nil")


def test_options_that_no_model_has_are_refused():
    with pytest.raises(ValidationError, match="model '2400' is not one of 2601B"):
        Keithley2600BOptions(model="2400")
    with pytest.raises(ValidationError, match="the interlock of a 2636B always acts"):
        Keithley2600BOptions(model="2636B", output_enable=True)
    assert Keithley2600BOptions(model="2636B").output_enable is False


def interlocks(*replies, **options):
    """Return a driver behind a transcript in which its output-enable lines are asked for, and the transcript."""
    talk = []
    for channel, reply in zip(("smua", "smub"), replies, strict=True):
        read = f"local known,value=pcall(function() return {channel}.source.outputenabled end)"
        shown = f"print({channel}.source.outputenableaction,tostring(known and value))"
        talk += [(">", f"{read} {shown}"), ("<", reply)]
    wire = TranscriptReplay(talk)
    return Keithley2600B(wire, "smu1", **options), wire


@pytest.mark.parametrize(
    ("model", "replies", "lines"),
    [
        ("2602B", ("0\ttrue", "1.00000e+00\tfalse"), {"smua": (False, True), "smub": (True, False)}),
        ("2602B", ("0.0\t0.00000e+00", "1\t1.00000e+00"), {"smua": (False, False), "smub": (True, True)}),
        ("2602B", ("0\tnil", "1\tfalse"), {"smua": (False, None), "smub": (True, False)}),
        ("2636B", ("0\tfalse", "0\ttrue"), {"smua": (True, False), "smub": (True, True)}),
    ],
)
def test_an_output_enable_line_acts_if_it_is_set_to_or_if_the_model_has_an_interlock(model, replies, lines):
    smu, wire = interlocks(*replies, model=model)
    with wire:
        assert smu.interlocks() == lines


def test_only_a_line_that_is_open_and_acts_is_a_fault(monkeypatch):
    monkeypatch.setattr(Keithley2600B, "_shown", lambda self, attributes: {})
    smu, wire = interlocks("0\tfalse", "1\tfalse")
    with wire:
        state, faults = smu.diagnosis()
    assert state == [
        "smua: output enable NOT asserted, ignored",
        "smub: output enable NOT asserted, switches the output off",
    ]
    assert faults == ["smub: the output-enable line is open; no output goes on before it is closed"]
    smu, wire = interlocks("1\ttrue", "1\tnil")
    with wire:
        state, faults = smu.diagnosis()
    assert state[1] == "smub: output enable not reported, switches the output off"
    assert not faults


@pytest.mark.parametrize(
    "queue",
    [
        ["-2.86000e+02\tTSP Runtime error\t2.00000e+01\t1.00000e+00", "0.00000e+00\tQueue Is Empty\t0\t1"],
        ["nan\tno\t0\t1"],
    ],
)
def test_errors_of_what_was_aborted_are_taken_from_the_queue_when_all_is_verified_off(queue):
    class Wire(TranscriptReplay):
        def cut_in(self, text, ask, last):
            return ["safe-1\t0:1:0:0:0.01:40\tnone\t1:1:0.3:0:0.01:40\tnone"]

    ask = (">", 'print(string.format("%d\\t%s\\t%d",errorqueue.next()))')
    talk = [pair for reply in queue for pair in (ask, ("<", reply))]
    with Wire(talk) as wire:
        assert Keithley2600B(wire, "smu1").emergency_off()["smua"].level == 0.3


def test_no_step_is_no_message():
    with replay("output", prepared=True) as talk:
        smu = prepared(talk)
        smu.output(["smua"])
        assert smu.run([]) == []


@pytest.mark.parametrize(
    ("act", "texts", "words"),
    [
        (lambda smu: smu.run([Measure("smua")]), [], "1 readings expected, 0 came"),
        (lambda smu: smu.run([Measure("smua")]), ["1e-6\t0\t1\t0"] * 2, "1 readings expected, 2 came"),
        (
            lambda smu: smu.run([Measure("smua", True)]),
            ["1e-6\t0\t1\t0"],
            "smu1.smua: its .* expected numbers, 3 of",
        ),
        (lambda smu: smu.run([Watch("smua")]), ["1e-6\t0\t1\t0"], "smu1.smua: its .* expected numbers, 1 of"),
    ],
)
def test_readings_that_are_not_as_many_as_were_asked_for_are_an_error(act, texts, words):
    with pytest.raises(InstrumentError, match=words):
        act(Answering(*texts, "false\t1\t0").ready())


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ((), "the states of 1 channels expected, got"),
        (("1e-6\t0\t1\t0", "false"), "smu1.smua: 'false' does not tell of the output and its level"),
        (("1e-6", "false\t1\t0"), "smu1.smua: '1e-6' does not tell of the output"),
    ],
)
def test_a_script_that_does_not_tell_of_outputs_and_levels_is_no_proof(texts, words):
    with pytest.raises(InstrumentError, match=words):
        Answering(*texts).ready().run([Measure("smua")])


@pytest.mark.parametrize("more", [-1, 1])
def test_a_script_that_has_not_carried_out_every_step_gives_no_reading(more):
    smu = Answering("1e-6\t0\t1\t1e-1", "false\t1\t1e-1", more=more).ready()
    words = rf"smu1: a script of 2 steps has carried out {2 + more}; nothing of it is accepted"
    with pytest.raises(NotDriven, match=words):
        smu.run([Limit("smua", 1e-7, 1e-6), Ramp("smua", 0.1, 1000.0), Measure("smua")])


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("0:0\tnone", "'0:0 none' answers where 4 states were expected"),
        ("0:0\tnone\tnone\tnone", "smu1.smua: its state is '0,0'; expected numbers, 6 of"),
    ],
)
def test_states_that_are_not_as_many_as_were_asked_for_are_no_proof(reply, words):
    class Wire(TranscriptReplay):
        def cut_in(self, text, ask, last):
            return [f"safe-1\t{reply}"]

    with pytest.raises(InstrumentError, match=words):
        Keithley2600B(Wire([]), "smu1").emergency_off()
