"""Where a fault can happen in a campaign, and which moments are of one kind: a fault at one stands for those at all.

A moment is of a kind by

* its instrument: the class of the emulator, and how many of that class the bench has. Two equal sources are driven by
  the same code; a matrix beside another one is driven by more of it than one alone;
* its message, as far as the fault depends on it (`aspect_of`). A reply that is lost is lost alike whichever of forty
  settings was confirmed by it, and one number that is changed in it depends on the question; a setting that is ignored
  is another fault with every setting. In whatever counts, numbers, channels, relays and repetitions do not;
* the phase of the campaign, and whether outputs of the instrument are on. Stages are one phase: survey and network
  send the same operations through the same code, and what one of them sends alone has a message of its own. The other
  message that is drawn of a moment is one of another stage where there is one, so that both are met.

What a bench sends in moments that those before it have had is not counted again; random injections happen on every
bench. A kind that cannot apply to a message (a number in a reply that has none) is not planned there. Messages that
make a bench safe, and open it again, are sent only when something has happened before: they are found in the trails of
campaigns that were interrupted once, and which of the interruptions led to them makes no other moment.
"""

import random
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache

from faults.kinds import KILLS

from labctl.boards.daffodil.patterns import patterns_of
from labctl.core.die_state import State
from sim_backend.emulators.link import Instrument
from sim_backend.emulators.scpi.instrument import ScpiInstrument
from sim_backend.emulators.tsp.instrument import TspInstrument
from sim_backend.faults.kinds import MATRICES, NUMBER, SETTING, STEP

_NAMES = (
    (re.compile(rb"\b(?:\d?[A-H]\d\d|0\d{4}|\d+!\d!\d+)\b"), b"1A01"),
    (re.compile(rb"\bsmu[ab]\b"), b"smuX"),
    (re.compile(rb"(?<![A-Za-z_])[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"), b"#"),
    (re.compile(rb"(?<![A-Za-z_])[+-]?#"), b"#"),
)
_CHANNELS = re.compile(rb"\(@[#A0!,]+\)")
_REPEATED = re.compile(rb"(.{4,120}?)\1+", re.S)
_VERB = re.compile(rb'"do": "(\w+)"')
_BOARD = re.compile(rb"(?:#\d+ )?(TAKE|SET|RUN|WRITE|RELEASE|END|SAFE|STATE\?)(?=\s|$)[^\n]*\n?")
"""A line to the server of a board."""
_QUESTION = re.compile(rb"print\(.*|:[^\n]*\?", re.S)
_RESULTS = b"mtj_r"
"""Table of a script in which its results are."""
_MOVES = re.compile(rb'channel\.(close|open)\(|"do": "(route|open)"|:ROUT:(CLOS|OPEN)(:CARD ALL| ALL| \(@)')
"""What moves relays of a matrix."""
_ACTS = re.compile(
    rb"\b(?:DV|CN|CL)\d|"
    rb"source\.(output|level)|:OUTP\d? #|:SOUR:VOLT #|:INIT|channel\.|:ROUT:(CLOS|OPEN)(:CARD ALL| ALL| \(@)"
)
"""What switches an output, sets a level, begins a pulse or moves relays."""
PHASES = {State.MOVING: "approach", "survey": "stage", "network": "stage"}
"""Phases that are one: all stages, and what comes before and while the chuck moves."""

FIRST = ("killed after", "reply lost", "^C after")
"""Kinds of first faults, which have a bench made safe: by the next process, after an error, and for the operator.

Which of them leads to a kind of moment that all have is drawn for each kind."""

WITHOUT_REPLY = (
    "reply lost", "mute", "reply late, with the next one", "reply late, after a new connection",
    "reply cut, without a line feed",
)  # fmt: skip
"""Kinds that keep a reply from the host, whole or its end."""
OF_LINK = (
    "message lost", "deaf", "connection closed before", "connection closed after", "gone", "busy",
    "error queued before", "error queued after", "power cycle, link lost", "output trips off", "needles lift",
    "^C before", "^C after", *WITHOUT_REPLY, *KILLS,
)  # fmt: skip
"""Kinds to which it matters how a message is sent and waited for, and not what it says."""
OF_NUMBERS = (
    "a digit changed", "every number NaN", "one number NaN", "every number infinite", "one number infinite",
    "every number 9.91e37", "one number 9.91e37",
)  # fmt: skip
OF_REPLY = (
    "reply cut, with a line feed", "empty reply", "garbage", "babbling", "previous reply again",
    "reply of another instrument", "an extra line", *OF_NUMBERS,
)  # fmt: skip
"""Kinds to which the question matters, and what was set before it does not."""


@dataclass(frozen=True, order=True)
class Planned:
    """An injection that is planned.

    Args:
        at: number of the message to which it happens, from 1.
        only: to that message or not at all.
        first: kind of the fault that happens before, "" for none, and `first_at` the number of its message.
        of: the instrument whose messages alone `at` counts, since those of several may be sent in parallel; "" for all.
        bench: a name in `BENCHES`.
    """

    kind: str
    at: int
    only: bool = False
    first: str = ""
    first_at: int = 0
    of: str = ""
    bench: str = "matrix"


@cache
def shape_of(message):
    """Return what a message has in common with those of its shape.

    >>> shape_of(b"smua.source.levelv=0.25"), shape_of(b"smub.source.levelv=-1e-3")
    (b'smuX.source.levelv=#', b'smuX.source.levelv=#')
    >>> shape_of(b'channel.close("1A01,1B02,2H12")') == shape_of(b'channel.close("2C03,1A01")')
    True
    >>> shape_of(b":ROUT:CLOS (@00101,00202)") == shape_of(b":ROUT:CLOS (@00303)")
    True

    Of a batch for a board it is in which ways lines are driven and read, and not with which codes.
    """
    if (board := _verbs(message)) in (b"RUN", b"WRITE"):
        return board + (_ways(message.split()[-1].decode()) if board == b"RUN" else b"")
    for names, name in _NAMES:
        message = names.sub(name, message)
    while (shorter := _REPEATED.sub(rb"\1", message)) != message:
        message = shorter
    return _CHANNELS.sub(b"(@#)", re.sub(rb"#A#(,#A#)*", b"#A#", message))


def _verbs(message):
    r"""Return the verbs of the lines to the server of a board, b"" of another message.

    >>> _verbs(b"#5 STATE?\n"), _verbs(b"SAFE\nSTATE?\n"), _verbs(b":OUTP 1\n:SYST:ERR?\n")
    (b'STATE?', b'SAFE+STATE?', b'')
    """
    verbs, at = [], 0
    while board := _BOARD.match(message, at):
        verbs.append(board[1])
        at = board.end()
    return b"+".join(verbs) if at == len(message) else b""


def _ways(text):
    """Return in which ways the patterns of a batch drive and read lines: mode, and none, one or more of each."""
    return repr(
        sorted(
            {
                (one.mode, *(min(2, mask.bit_count()) for mask in (one.column_on, one.row_on, one.read)))
                for one in patterns_of(text)
            }
        )
    ).encode()


@cache
def question_of(message):
    """Return the shape of what a message asks: its last line, unless that asks for what a script has measured.

    >>> question_of(b"smua.measure.nplc=1\\nprint(errorqueue.count)\\n"), question_of(b":SOUR:DEL 0\\n:SYST:ERR?\\n")
    (b'print(errorqueue.count)', b':SYST:ERR?')
    """
    if board := _verbs(message):
        return board
    shape = shape_of(message)
    before, _, last = shape.rstrip().rpartition(b"\n")
    return last if before and _RESULTS not in last else shape


@cache
def form_of(message):
    """Return how a message is sent and waited for: a question, a script, or settings with one question behind.

    What drives or moves something, has no reply or is of no such form keeps its shape.

    >>> form_of(b":SENS:CURR:NPLC 1\\n:SYST:ERR?\\n"), form_of(b":OUTP 1\\n:SYST:ERR?\\n"), form_of(b":OUTP?;:VOLT?\\n")
    (b':SYST:ERR?', b':OUTP #\\n:SYST:ERR?\\n', b'?')
    >>> form_of(b'{"do": "run", "id": 7, "steps": []}\\n'), form_of(b":ABOR\\n")
    (b'run', b':ABOR\\n')
    """
    shape, question = shape_of(message), question_of(message)
    if board := _verbs(message):
        return board
    if verb := _VERB.search(shape):
        return verb[1]
    if _RESULTS in question:
        return b"script"
    if question != shape:
        return shape if _ACTS.search(shape) else question
    return b"?" if _QUESTION.fullmatch(shape.rstrip()) and b"READ" not in shape else shape


def aspect_of(message, kind):
    """Return what of a message the faults of a kind depend on; the whole shape, if nothing less is known to do."""
    return (form_of if kind in OF_LINK else question_of if kind in OF_REPLY else shape_of)(message)


def applies(kind, sent):
    """Return whether faults of a kind can happen to a message of an undisturbed campaign."""
    sources = sent.emulator.outputs is not Instrument.outputs
    match kind:
        case "a setting ignored":
            return SETTING.search(sent.message) is not None
        case "a ramp, limit or wait ignored":
            return STEP.search(sent.message) is not None
        case "relays stuck":
            return issubclass(sent.emulator, MATRICES) and _MOVES.search(sent.message) is not None
        case "busy":
            return sent.emulator.ends_busy is not Instrument.ends_busy
        case "error queued before" | "error queued after":
            return issubclass(sent.emulator, TspInstrument | ScpiInstrument)
        case "output trips off":
            return sent.live
        case "needles lift":
            return sources and sent.in_contact
    if kind in OF_NUMBERS:
        return NUMBER.search(sent.reply) is not None
    return bool(sent.reply) or kind not in (*OF_REPLY, *WITHOUT_REPLY)


def positions_of(trail, kind, *, live=True):
    """Return the numbers of the messages, from 1, of each kind of moment of a trail at which a kind can happen.

    Args:
        live: whether outputs that are on make another moment.
    """
    positions, equal = {}, _equal(trail)
    for number, sent in enumerate(trail, 1):
        if applies(kind, sent):
            positions.setdefault(_moment(sent, kind, equal, live), []).append(number)
    return positions


def positions_after(trail, undisturbed, at, kind):
    """Return the numbers of the messages of each kind of moment that only an interrupted campaign has.

    What is on while a bench is made safe is switched off by several at once, and so makes no moment.

    Args:
        trail: of the campaign that was interrupted at its message `at`.
        undisturbed: trail of one that was not.

    Returns:
        Numbers, from 1, among the messages of the instrument.
    """
    usual, numbers, positions, equal = positions_of(undisturbed, kind, live=False), Counter(), {}, _equal(trail)
    for number, sent in enumerate(trail, 1):
        numbers[sent.instrument] += 1
        moment = _moment(sent, kind, equal, live=False)
        if number > at and moment not in usual and applies(kind, sent):
            positions.setdefault((sent.instrument, *moment), []).append(numbers[sent.instrument])
    return positions


def _equal(trail):
    """Return the number of instruments of each class."""
    return Counter(emulator for _, emulator in {(sent.instrument, sent.emulator) for sent in trail})


def _moment(sent, kind, equal, live):
    """Return the kind of moment of a message: instrument, aspect of the message, phase, and whether it is live."""
    instrument = sent.emulator.__name__, equal[sent.emulator]
    phase = PHASES.get(sent.phase, str(sent.phase))
    return *instrument, aspect_of(sent.message, kind), phase, live and sent.live


def middle_of(trail, phase):
    """Return the number of the message in the middle of a phase, of the instrument that is talked to most in it."""
    numbers = {}
    for number, sent in enumerate(trail, 1):
        if sent.phase == phase:
            numbers.setdefault(sent.instrument, []).append(number)
    most = max(numbers.values(), key=len)
    return most[len(most) // 2]


class Everywhere:
    """Every kind at every kind of moment: at the first message of it, and at one of its others.

    Benches are given one after the other; what those before have had is not planned again.

    Args:
        kinds: of faults.
        seed: of the other message.
        had: set of the moments by kind that benches with other kinds have had; grows.
    """

    def __init__(self, kinds, seed=0, had=None):
        self.kinds, self.seed = tuple(kinds), seed
        self._had = {} if had is None else had

    def planned(self, trail, bench="matrix"):
        """Return the injections into the undisturbed campaign of a bench, in a drawn order: a part is a sample."""
        planned = set()
        for kind in self.kinds:
            for moment, numbers in self._new(kind, positions_of(trail, kind)).items():
                begin = trail[numbers[0] - 1].phase
                elsewhere = [number for number in numbers if trail[number - 1].phase != begin]
                planned |= {
                    Planned(kind, at, True, bench=bench)
                    for at in self._two(numbers, elsewhere or numbers[1:], kind, moment)
                }
        return self._drawn(planned)

    def planned_after(self, trails, undisturbed, at, bench="matrix"):
        """Return the injections into campaigns that were interrupted at a message.

        Args:
            trails: of the interrupted campaigns, by the kind of the fault that interrupted them.
        """
        planned = set()
        for kind in self.kinds:
            order = sorted(trails)
            random.Random(f"{self.seed} {kind}").shuffle(order)
            for first in order:
                trail = trails[first]
                positions = positions_after(trail, undisturbed, at, kind)
                alike = {}
                for (instrument, *moment), numbers in positions.items():
                    alike.setdefault(tuple(moment), (instrument, numbers))
                for moment, (instrument, numbers) in self._new(kind, alike).items():
                    planned |= {
                        Planned(kind, number, True, first, at, instrument, bench)
                        for number in self._two(numbers, numbers[1:], kind, moment)
                    }
        return self._drawn(planned)

    def _new(self, kind, positions):
        """Return the positions at moments that no bench has had before; they are had from now on."""
        had = self._had.setdefault(kind, set())
        new = {moment: numbers for moment, numbers in positions.items() if moment not in had}
        had.update(positions)
        return new

    def _two(self, numbers, others, kind, moment):
        """Return the first of some numbers, and one of others if there are any."""
        dice = random.Random(f"{self.seed} {kind} {moment}")
        return [numbers[0], *([dice.choice(others)] if others else [])]

    def _drawn(self, planned):
        ordered = sorted(planned)
        random.Random(self.seed).shuffle(ordered)
        return ordered
