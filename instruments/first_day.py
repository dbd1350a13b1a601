"""The checks of the first day: what is assumed of the instruments of a bench, asked of the instruments themselves.

Each assumption of the ledger that queries can settle has a function here. They set nothing; those that set something
are left out unless they are asked for, and move and energise nothing either. What needs an output is in
`energised_checks`. The rest is left to a person, by name of the step.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Any

from instruments.assumptions import Assumption, How, ledger
from instruments.bench import Bench
from instruments.board_bench import AnyBench
from instruments.drivers import Connect, driver_of, visa
from instruments.entry import Entry
from instruments.flex import Flex
from instruments.keithley707b import CROSSPOINT, DELAYS, FORBIDDEN, LABELS, MOVES, NO_DELAYS, SLOTS, parse_closed
from instruments.keithley2400_settings import FULL
from instruments.keithley2600b_script import FUNCTIONS
from instruments.keysightb1500_models import MODELS as MODELS_OF_FLEX
from instruments.keysightb2200 import UNKNOWN_CHANNEL
from instruments.mpi_sentio import STEPPING
from instruments.scpi import Scpi, error_in, numbers_in
from instruments.sentio_reply import SentioLink
from instruments.timing import BenchTiming
from instruments.tsp import LONGEST_CHUNK, PROMPT, Refused, Tsp, number, parse_numbers
from labctl.core.driver import Wire
from labctl.core.errors import InstrumentError, LabError
from labctl.core.transport import Transport
from labctl.core.units import Second, Unit

MESSAGES = 21
"""Queries of whose times the median is the latency of a message."""

READINGS = 20
"""Readings of whose times the mean is that of one."""

SLOWER = 1.1
"""Factor above the assumed latency that still is the assumed one."""

_CARD = re.compile(r"[^,]+,\s*\d+\s*[xX]\s*\d+[^,]*(,[^,]+){2,}")
"""Identity of a card: model, shape, firmware, serial number."""
_ASK_FOR = {How.SET: "sets something: --settings", How.ENERGISED: "needs an output: --energise"}
"""What a check that was not asked for does, and the option that asks for it."""
_ANY_ERROR = range(1, 1024)


class Verdict(StrEnum):
    """What a check says of an assumption."""

    HOLDS = "holds"
    FAILS = "does not hold"
    OPEN = "not checked here"


@dataclass(frozen=True)
class Finding:
    """What is known of one assumption at one instrument.

    Args:
        id: of the assumption in the ledger.
        instrument: name in the bench file, or that of its channel; "" is the bench.
        expected: reply or figure that the assumption means.
        reply: what the instrument says, or why it was not asked.
        step: of docs/first-day-at-the-bench.md, from 8 on of docs/first-day-at-the-board.md.
        tools: what a person needs who checks it; empty if none has to.
    """

    id: str
    statement: str
    instrument: str
    verdict: Verdict
    expected: str
    reply: str
    step: str
    tools: str


@dataclass(frozen=True)
class Box:
    """An instrument that answers: its driver, the wire below it, the bench, and a clock, s."""

    name: str
    entry: Entry
    driver: Any
    transport: Transport
    timing: BenchTiming
    clock: Callable[[], Second]

    @property
    def options(self) -> Any:
        """What the bench file says of it to its driver."""
        return self.entry.options

    @property
    def tsp(self) -> Tsp:
        """The dialect of Keithley's instruments on its wire."""
        return Tsp(self.transport, self.name)

    @property
    def scpi(self) -> Scpi:
        """The dialect of SCPI on its wire."""
        return Scpi(self.transport, self.name)

    @property
    def sentio(self) -> SentioLink:
        """The dialect of SENTIO on its wire."""
        return SentioLink(self.transport, self.name)


Answer = tuple[str, str, bool | None]
"""What was expected, what the instrument says, and whether the assumption holds; None if that cannot be said yet."""


def first_day(
    bench: AnyBench,
    *,
    clock: Callable[[], Second],
    connect: Connect | None = None,
    settings: bool = False,
    energise: bool = False,
) -> list[Finding]:
    """Return a finding for every assumption of the ledger that concerns the bench.

    First what was to be checked here, instrument by instrument, then what is left to a person, once for all of them.

    Nothing moves and no output goes on. Error queues are read, which empties them.

    Args:
        clock: of the instruments, s; on a twin that of the twin.
        settings: perform the checks too that set something.
        energise: leave out what `instruments.energised_checks` finds.
    """
    connect, left, findings = connect or visa(), [], []
    for row in ledger().assumptions:
        names = [name for name, entry in bench.instruments.items() if entry.driver in row.drivers]
        concerned = bool(names) if row.drivers else not row.value or bool(_figure(bench, row.value))
        elsewhere = {How.PERSON: True, How.SET: not settings, How.ENERGISED: not energise}
        if concerned and elsewhere.get(row.how, False):
            left.append(_left(row, ", ".join(names), bench))
    for name, entry in bench.instruments.items():
        hows = {How.READ, How.SET} if settings else {How.READ}
        rows = [row for row in ledger().assumptions if entry.driver in row.drivers and row.how in hows]
        if rows and entry.declaration.wire is Wire.TEXT:
            timing = bench.timing if isinstance(bench, Bench) else BenchTiming()
            checked = _of_instrument(name, entry, rows, connect, timing, clock)
            findings += [checked[row.id] for row in rows]
    return findings + left


def _meet(driver: Any, transport: Transport, entry: Entry) -> None:
    """Connect a driver; one that refuses an instrument as it is set, while that answers, is gone on with."""
    try:
        driver.connect()
    except InstrumentError:
        transport.query(entry.declaration.question or "*IDN?")


def _of_instrument(
    name: str, entry: Entry, rows: list[Assumption], connect: Connect, timing: BenchTiming, clock: Callable[[], Second]
) -> dict[str, Finding]:
    """Return the findings of one instrument by the id of the assumption; one that does not answer says why."""
    wires: list[Transport] = []

    def kept(name: str, entry: Entry) -> Transport:
        wires.append(connect(name, entry))
        return wires[-1]

    checked: dict[str, Finding] = {}
    try:
        driver = driver_of(name, entry, kept, None)
        try:
            _meet(driver, wires[0], entry)
            for row in rows:
                checked[row.id] = _checked(row, Box(name, entry, driver, wires[0], timing, clock))
        finally:
            driver.close()
    except Exception as error:
        reason = str(error) if isinstance(error, LabError) else f"its driver failed: {error!r}"
        for row in rows:
            missing = Finding(row.id, row.statement, name, Verdict.OPEN, "", reason, row.step, "")
            checked.setdefault(row.id, missing)
    return checked


def _checked(row: Assumption, box: Box) -> Finding:
    """Return the finding of a check; an instrument that answers with an error is not as it is assumed to be."""
    try:
        expected, reply, holds = CHECKS[row.id](box)
    except InstrumentError as error:
        expected, reply, holds = row.statement, str(error), False
    verdict = {True: Verdict.HOLDS, False: Verdict.FAILS, None: Verdict.OPEN}[holds]
    return Finding(row.id, row.statement, box.name, verdict, expected, reply, row.step, "")


def _left(row: Assumption, names: str, bench: AnyBench) -> Finding:
    """Return the finding of an assumption that is not checked here."""
    reason = _ASK_FOR.get(row.how, "")
    return Finding(row.id, row.statement, names, Verdict.OPEN, _figure(bench, row.value), reason, row.step, row.tools)


def _figure(bench: AnyBench, path: str) -> str:
    """Return the figure of a key of the bench file with its unit; "" if the bench has no such key."""
    section, _, key = path.partition(".")
    model = getattr(bench, section, None) if section else None
    if model is None or key not in type(model).model_fields:
        return ""
    value = getattr(model, key)
    unit = next((mark.symbol for mark in type(model).model_fields[key].metadata if isinstance(mark, Unit)), "")
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f"{key} {text} {unit}".rstrip()


def _number_format(box: Box) -> Answer:
    plain = box.transport.query("print(2)").strip()
    values = box.tsp.numbers("1/3,1e-9", 2)
    same = all(math.isclose(v, w, rel_tol=1e-9) for v, w in zip(values, (1 / 3, 1e-9), strict=True))
    reply = f"2 is '{plain}'; 1/3 and 1e-9 are {', '.join(number(value) for value in values)}"
    return "2; ten digits of 1/3 and 1e-9", reply, same and parse_numbers(plain) == [2.0]


def _message_latency(box: Box) -> Answer:
    times = []
    for _ in range(MESSAGES):
        begun = box.clock()
        box.transport.query("print(1)")
        times.append(box.clock() - begun)
    latency, assumed = median(times), box.timing.message
    return f"message {assumed:.3g} s", f"{latency:.3g} s", latency <= SLOWER * assumed


def _longest_line(box: Box) -> Answer:
    reply = box.transport.query('print("whole")'.rjust(LONGEST_CHUNK)).strip()
    return f"a line of {LONGEST_CHUNK} characters is answered", reply, reply == "whole"


def _protected_call(box: Box) -> Answer:
    text = "print(pcall(function() return localnode.mtj_no_such_part.deeper end))"
    reply = box.transport.query(text).strip()
    queued = box.tsp.errors()
    after = f"; in the error queue: {'; '.join(queued)}" if queued else ""
    return "false, and what went wrong", reply.replace("\t", ", ") + after, reply.partition("\t")[0] == "false"


def _prompts(box: Box) -> Answer:
    expected = "a prompt, and a line feed behind it"
    try:
        ask = 'localnode.prompts=1\nprint("prompted")'
        lines = box.transport.converse(ask, lambda line: line.strip() == "prompted")
    finally:
        box.transport.converse('localnode.prompts=0\nprint("quiet")', lambda line: line.strip() == "quiet")
    before = [line.strip() for line in lines[:-1]]
    reply = ", ".join(before) or "no line but the reply itself"
    return expected, reply, bool(before) and all(PROMPT.match(line) for line in before)


def _own_timer(box: Box) -> Answer:
    """Run a script of 5 s that has 0.2 s; it drives nothing, and no output is on."""
    expected = "an error after 0.2 s of 5 s"
    for text in FUNCTIONS:
        box.tsp.set(text)
    box.tsp.set("mtj_c={}")
    begun = box.clock()
    try:
        box.tsp.script(["mtj_run(0.2,function(r) for k=1,100 do mtj_wait(0.05) end end)"], extra=10.0)
    except Refused as error:
        seconds = box.clock() - begun
        return expected, f"after {seconds:.2g} s: {error}", "takes longer than its 0.2 s" in str(error) and seconds < 2
    return expected, "the script ran to its end", False


def _measure_overhead(box: Box) -> Answer:
    """Time readings with the output as it is, which is off."""
    channel = box.driver.capabilities.channels[0]
    names = [f"{channel}.measure.{name}" for name in ("nplc", "delay", "count", "filter.enable")]
    read = f"{channel}.measure.i()"
    run = f"{read} timer.reset() for k=1,{READINGS} do {read} end local t=timer.measure.t()"
    digits = ",".join(["%.9e"] * (2 + len(names)))
    values = f"t,localnode.linefreq,{','.join(names)}"
    reply = box.transport.query(f'{run} print(string.format("{digits}",{values}))', extra=60.0)
    seconds, frequency, nplc, delay, count, averaged = parse_numbers(reply)
    assumed = box.timing.measure_overhead
    expected = f"measure_overhead {assumed:.3g} s"
    if delay < 0 or count != 1 or averaged:
        return expected, "delay, count or filter of the channel are set otherwise", None
    overhead = seconds / READINGS - nplc / frequency - delay
    return expected, f"{overhead:.3g} s beside {nplc:.3g} NPLC", overhead <= SLOWER * assumed


def _output_enable(box: Box) -> Answer:
    lines = {channel: asserted for channel, (_, asserted) in box.driver.interlocks().items()}
    words = {True: "asserted", False: "not asserted", None: "not known"}
    reply = ", ".join(f"{channel}: {words[asserted]}" for channel, asserted in lines.items())
    return "asserted or not, of every channel", reply, None not in lines.values()


def _line_frequency(box: Box) -> Answer:
    (frequency,) = box.tsp.numbers("localnode.linefreq", 1)
    return "50 or 60 Hz", f"{frequency:g} Hz", frequency in (50.0, 60.0)


def _range_answer(box: Box) -> Answer:
    ranges, present = box.driver.capabilities.ranges_i, numbers_in(box.scpi.ask([":SENS:CURR:RANG?"])[0])[0]
    known = any(math.isclose(present, by * full, rel_tol=1e-4) for full in ranges for by in (1.0, FULL))
    return f"a current range, or {FULL:g} times one", f"{present:.6g} A", known


def _two_messages(box: Box) -> Answer:
    box.scpi.set(":FORM:DATA ASC")
    return "no error", "no error", True


def _card_identity(box: Box) -> Answer:
    slots = range(1, 1 + SLOTS[box.options.model])
    replies = [box.tsp.text(f"slot[{n}] and slot[{n}].idn") for n in slots]
    cards = [reply for reply in replies if reply not in ("nil", "") and "empty" not in reply.lower()]
    reply = "; ".join(f"{n}: {reply}" for n, reply in zip(slots, replies, strict=True))
    return "model,shape,firmware,serial number", reply, all(_CARD.fullmatch(card) for card in cards) if cards else None


def _closed_list(box: Box) -> Answer:
    reply = box.tsp.text('channel.getclose("allslots")')
    closed = parse_closed(reply)
    note = "" if closed else "; nothing is closed: the form of a list is not seen"
    return "1A01;1B02", reply + note, True if closed else None


def _channel_lists(box: Box) -> Answer:
    expected = "as many delays as labels; crosspoints or nil; images of two crosspoints"
    delays, forbidden, labels = (box.tsp.text(question) for question in (DELAYS, FORBIDDEN, LABELS))
    names = [label for label in re.split("[,;]", labels) if label not in ("nil", "")]
    if not names:
        return expected, "no channel: no card is installed", None
    pair = names[:2] if len(names) > 1 else names * 2
    images = box.tsp.text(f'channel.getimage("{pair[0]},{pair[1]}")')
    counts = len(parse_numbers(delays)), len(names)
    reply = f"{counts[0]} delays, {counts[1]} labels; forbidden: {forbidden}; images: {images}"
    parse_closed(forbidden)
    return expected, reply, counts[0] == counts[1] and len(images.split(";")) == len(dict.fromkeys(pair))


def _label_like_a_channel(box: Box) -> Answer:
    names = [label for label in re.split("[,;]", box.tsp.text(LABELS)) if CROSSPOINT.fullmatch(label)]
    if len(names) < 2:
        return "refused, or told", "no two channels without a label", None
    channel, other = names[0], names[1]
    try:
        box.tsp.set(f'channel.setlabel("{channel}","{other}")')
    except Refused as error:
        return "refused, or told", str(error), True
    image = box.tsp.text(f'channel.getimage("{other}")')
    box.tsp.set(f'channel.setlabel("{channel}","")')
    left = box.tsp.text(f'channel.getlabel("{channel}")')
    reply = f"{other}, the label of {channel} for a moment, stands for {image}; label afterwards: {left}"
    return "refused, or told", reply, image in (channel, other) and left in (channel, "nil", "")


def _relay_rules(box: Box) -> Answer:
    box.tsp.set(" ".join([*(f"{name}={value}" for name, value in MOVES.items()), NO_DELAYS]))
    taken = box.tsp.numbers(",".join(MOVES), len(MOVES))
    delays = [] if (reply := box.tsp.text(DELAYS)) in ("nil", "") else parse_numbers(reply)
    texts = [*(f"{value:g}" for value in taken), f"{max(delays, default=0):g} s"]
    return (
        ", ".join([*map(str, MOVES.values()), "0 s"]),
        ", ".join(texts),
        taken == [*MOVES.values()] and not any(delays),
    )


def _unknown_channel(box: Box) -> Answer:
    """Ask whether output 0 is closed, which there is in no configuration."""
    expected, reply = "an error, and the question behind it answered", box.transport.query(UNKNOWN_CHANNEL).strip()
    return expected, reply, error_in(reply)[0] != 0


def _card_types(box: Box) -> Answer:
    cards = box.driver.cards()
    reply = ", ".join(f"{slot}: {card or 'none'}" for slot, card in cards.items())
    return "the type of every card, or none", reply, all(not card or card.isdigit() for card in cards.values())


def _chuck_heights(box: Box) -> Answer:
    replies = [box.transport.query(text) for text in ("get_chuck_z Z", "get_chuck_site_heights Wafer")]
    where, doubts = box.driver.standing()
    return "the chuck is up or down", "; ".join([*replies, where, *doubts]), not doubts


def _die_and_axes(box: Box) -> Answer:
    expected = "site,column,row; two numbers; two numbers"
    index = box.sentio.ask("map:die:get_current_index", allowed=_ANY_ERROR)
    axes = [box.sentio.numbers(text, 2) for text in ("get_chuck_xy Wafer, Z", "map:get_index_size")]
    reply = "; ".join([index.text, *(f"{x:g}, {y:g} um" for x, y in axes)])
    if index.error or index.text.count(",") < 2:
        return expected, f"{reply}; it names no die", None
    numbers = box.sentio.integers("map:die:get_current_index", index.text)
    return expected, reply, bool(numbers) and all(size > 0 for size in axes[1])


def _overtravel(box: Box) -> Answer:
    overtravel, ceiling = box.driver.heights().overtravel, box.options.overtravel_ceiling
    return f"at most {ceiling * 1e6:.4g} um", f"{overtravel * 1e6:.4g} um", overtravel <= ceiling * (1 + 1e-9)


def _flex_learn(box: Box) -> Answer:
    flex, slot = Flex(box.transport, box.name, MODELS_OF_FLEX[box.options.model]), box.options.slots[0]
    kinds = {slot: ("DV", "DI", "CL"), 0: ("CN", "CL"), 30: ("FL",), 31: ("CM",), 53: ("SSR",), 55: ("AAD",)}
    learnt = {kind: [name for name, _ in flex.learn(kind)] for kind in kinds}
    reply = "; ".join(f"{kind}: {' '.join(names)}" for kind, names in learnt.items())
    holds = all(any(name in learnt[kind] for name in names) for kind, names in kinds.items())
    return "; ".join(f"{kind}: {' or '.join(names)}" for kind, names in kinds.items()), reply, holds


def _velox_heights(box: Box) -> Answer:
    states, doubts = box.driver.diagnosis()
    return "Velox names the height that the chuck stands at", "; ".join([*states, *doubts]), not doubts


def _stepping_mode(box: Box) -> Answer:
    return "taken", box.sentio.ask(f"set_stepping_contact_mode {STEPPING}").text or "taken", True


CHECKS: Mapping[str, Callable[[Box], Answer]] = {
    "number-format": _number_format,
    "message-latency": _message_latency,
    "longest-line": _longest_line,
    "protected-call": _protected_call,
    "prompts": _prompts,
    "own-timer": _own_timer,
    "measure-overhead": _measure_overhead,
    "output-enable-known": _output_enable,
    "line-frequency": _line_frequency,
    "range-answer": _range_answer,
    "two-messages": _two_messages,
    "card-identity": _card_identity,
    "closed-list": _closed_list,
    "channel-lists": _channel_lists,
    "label-like-a-channel": _label_like_a_channel,
    "relay-rules": _relay_rules,
    "unknown-channel": _unknown_channel,
    "card-types": _card_types,
    "chuck-heights": _chuck_heights,
    "die-and-axes": _die_and_axes,
    "overtravel": _overtravel,
    "flex-learn": _flex_learn,
    "velox-heights": _velox_heights,
    "stepping-mode": _stepping_mode,
}
"""The check of each assumption that is not left to a person, by its id."""
