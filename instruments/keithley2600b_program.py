"""Cell programs as Lua of a Keithley 2600B: functions that write and verify a cell, and the script that calls them.

A script defines the steps of each kind of attempt as functions of the rung, and then calls one line per cell.
`mtj_cell` climbs the ladder; before a pulse it notes the attempt in `mtj_r`, and after the read its result in its
place, so that the table tells how far a script came that was lost. Nothing of an attempt is trusted that the
instrument has not shown: output and level stand behind each sample (`mtj_at`), and steps are counted in `mtj_n`, which
shows lines that were lost on their way.

Lua 5.0: no `#`, no `%`; tables by `table.insert`. [?] `waitcomplete(0)` waits for the nodes of the link as well.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from instruments.keithley2600b_steps import REMOTE, SLACK, STATEMENT, StepCompiler, condition_of
from instruments.timing import RAMP_STEP
from instruments.transport import LISTEN
from instruments.tsp import OVERFLOW, number
from labctl.core.cell_program import AttemptSteps, CellAttempt, CellProgram, ReadSteps, RelayMove
from labctl.core.errors import InstrumentError
from labctl.core.operations import Flag
from labctl.core.source import Aperture, Hold, Level, Limit, Measure, Ramp, ScriptSize, Step, Watch
from labctl.core.units import Ampere, Second, Volt

SIZE = ScriptSize(characters=200_000, attempts=4000, reads=True, remote=REMOTE)
"""[?] What the memory for scripts holds beside the functions; no manual gives a bound of one script."""

FUNCTIONS = (
    'function mtj_at(s,v) if s.source.output~=1 then error("driven: an output is off",0) end '
    "if math.abs(s.source.levelv-v)>1e-3*math.abs(v)+1e-6 then "
    'error(string.format("driven: a level is %.6g V where %.6g V was set",s.source.levelv,v),0) end end '
    "function mtj_see(s,v) mtj_n=mtj_n+1 local c=s.source.compliance mtj_at(s,v) if c then mtj_f=1 end end "
    "function mtj_add(s,m,v,w,j,k) mtj_n=mtj_n+1 mtj_due(s,k) local i=s.measure.i() local c=m.condition mtj_in(0) "
    "mtj_at(s,v) mtj_x=mtj_x+w*i if j then if bit.test(c,2) then mtj_g=1 end "
    "if i~=i or math.abs(i)>9e37 then mtj_o=2 end end end",
    "function mtj_still(s,v,i,k) mtj_n=mtj_n+1 mtj_due(s,k) local a,b=s.measure.iv() mtj_in(0) mtj_at(s,0) "
    "if not (math.abs(b)<=v and math.abs(a)<=i) then mtj_h=string.format("
    '"a line reads %.3g V and %.3g A where 0 was set",b,a) end end '
    "function mtj_rest(f,k,d) local n=mtj_n for t=1,k do mtj_n,mtj_h=n,nil f() if not mtj_h then return end "
    'if t<k then mtj_in(d) delay(d) end end error("hot: "..mtj_h,0) end',
    "function mtj_move(x,o,c,n,d) mtj_n=mtj_n+1 mtj_in(0) "
    'if o~="" then x.open(o) waitcomplete(0) end if c~="" then x.close(c) waitcomplete(0) end mtj_in(d) delay(d) '
    'local l=x.getclose("allslots") or "" local g,k=string.gsub(l,"%d%a%d%d","") '
    'if k~=n then error("relays: "..k.." are closed where "..n.." should be",0) end '
    'for a in string.gfind(c,"%d%a%d%d") do if not string.find(l,a,1,true) then '
    'error("relays: "..a.." is open",0) end end '
    'for a in string.gfind(o,"%d%a%d%d") do if string.find(l,a,1,true) then '
    'error("relays: "..a.." is closed",0) end end end',
    "function mtj_look(f) mtj_x,mtj_g,mtj_o,mtj_f=0,0,0,0 f() return mtj_x,mtj_g+mtj_o end "
    "function mtj_cell(k,c,b,t,g) local p,read,wider,lead=k[1],k[2],k[3],k[4] for a=1,b do "
    'table.insert(mtj_r,string.format("%d %d",c,a)) mtj_f=0 p(mtj_l[a]) local q=mtj_f '
    "local x,f=mtj_look(read) local w=0 if f>0 and wider then x,f=mtj_look(wider) w=1 end "
    "if mtj_f>0 and f~=1 and f~=3 then f=f+1 end "
    "local y=x/(1-lead*x) local s=0 if f==0 and (y/mtj_u>g)==(t>0) then s=1 end "
    'mtj_r[table.getn(mtj_r)]=string.format("%d %d %.9e %d %d %d %d",c,a,x,f,q,s,w) '
    "if f>0 or s>0 then return end end end",
)
"""Messages that define the functions of cell programs, sent before the first of a session."""

PROGRESS = 'table.concat(mtj_r or {},";")'
"""Expression for what the last script has noted, its mark first."""

DRIVEN = "driven: "
"""Beginning of the errors by which a script ends whose outputs are not as they were set."""


@dataclass(frozen=True)
class Compiled:
    """The script of a program.

    Args:
        lines: its statements.
        seconds: its longest time, s.
        pulse, read, wider, rest: counted steps of each kind.
    """

    lines: list[str]
    seconds: Second
    pulse: list[int]
    read: list[int]
    wider: list[int]
    rest: list[int]

    def steps(self, program: CellProgram, attempts: Sequence[tuple[CellAttempt, bool]]) -> int:
        """Return the steps that are counted if `program` was carried out with these attempts, wider reads if True."""
        kind = {cell.number: cell.steps for cell in program.cells}
        made = sum(
            self.pulse[k] + self.read[k] + (self.wider[k] if wider else 0)
            for k, wider in ((kind[attempt.cell], wider) for attempt, wider in attempts)
        )
        return made + sum(self.rest[cell.steps] * cell.rests + len(cell.moves) for cell in program.cells)


def compiled(program: CellProgram, compiler: StepCompiler) -> Compiled:
    """Return the script of a program on channels that `compiler` has set up.

    Raises:
        InstrumentError: a level or limit beyond the setup of its channel.
    """
    for kind in program.kinds:
        reads = (kind.read, *([] if kind.wider is None else [kind.wider]))
        for step in (*kind.pulse, *kind.cold, *(step for read in reads for step in read.steps)):
            compiler.check(step)
    volts = ",".join(number(v) for v in program.ladder)
    lines = [f"mtj_l={{{volts}}} mtj_u={number(program.v_read)} mtj_q={{}}"]
    if program.node is not None:
        lines.append(f"local x=node[{program.node}].channel")
    times: list[tuple[Second, Second]] = []
    out = Compiled(lines, 0.0, [], [], [], [])
    for k, kind in enumerate(program.kinds, 1):
        times.append(_kind(out, k, kind, program, compiler))
    seconds = 0.0
    for cell in program.cells:
        attempt, rest = times[cell.steps]
        tries = min(cell.budget, len(program.ladder))
        seconds += tries * attempt + cell.rests * program.tries * (rest + program.settle) + STATEMENT
        for move in cell.moves:
            lines.append(move_line(move, program.relays))
            seconds += program.relays + 2 * program.relay + 4 * STATEMENT
        target = int(cell.target)
        lines.append(f"mtj_cell(mtj_q[{cell.steps + 1}],{cell.number},{tries},{target},{number(cell.cut)})")
        if cell.rests:
            rest_of = f"mtj_q[{cell.steps + 1}][5],{program.tries},{number(program.settle)}"
            lines.append(f"mtj_rest({rest_of})")
    return Compiled(lines, SLACK + 2 * seconds, out.pulse, out.read, out.wider, out.rest)


def _kind(
    out: Compiled, k: int, kind: AttemptSteps, program: CellProgram, compiler: StepCompiler
) -> tuple[Second, Second]:
    """Append the functions of a kind; return the longest time of an attempt and of the check that all is cold, s."""
    pulse, of_pulse, n_pulse = _pulse(kind.pulse, program.top, compiler)
    read, of_read, n_read = _read(kind.read, compiler)
    wider, of_wider, n_wider = (["false"], 0.0, 0) if kind.wider is None else _read(kind.wider, compiler)
    cold, of_cold, n_cold = cold_lines(kind.cold, program.cold_voltage, program.cold_current, compiler)
    out.lines.append(f"mtj_q[{k}]={{false,false,false,{number(kind.lead)},false}}")
    for slot, argument, body in ((1, "v", pulse), (2, "", read), (5, "", cold)):
        out.lines.extend([f"mtj_q[{k}][{slot}]=function({argument})", *body, "end"])
    if kind.wider is not None:
        out.lines.extend([f"mtj_q[{k}][3]=function()", *wider, "end"])
    for counts, count in ((out.pulse, n_pulse), (out.read, n_read), (out.wider, n_wider), (out.rest, n_cold)):
        counts.append(count)
    return of_pulse + of_read + of_wider, of_cold


def _pulse(steps: Sequence[Step], top: Volt, compiler: StepCompiler) -> tuple[list[str], Second, int]:
    """Return lines in which `v` is the rung, their longest time, s, and how many are counted."""
    return _lines(steps, compiler, top=top)


def _read(read: ReadSteps, compiler: StepCompiler) -> tuple[list[str], Second, int]:
    return _lines(read.steps, compiler, weights=list(zip(read.weights, read.flagged, strict=True)))


def cold_lines(
    steps: Sequence[Step], volts: Volt, amps: Ampere, compiler: StepCompiler
) -> tuple[list[str], Second, int]:
    """Return lines that verify 0 V, by readings below V and A; their longest time, s, and how many are counted."""
    return _lines(steps, compiler, still=(volts, amps))


def move_line(move: RelayMove, settle: Second) -> str:
    """Return the line that moves relays of the matrix `x`, waits, and reads the closed set back."""
    opening, closing = ",".join(move.opening), ",".join(move.closing)
    return f'mtj_move(x,"{opening}","{closing}",{move.count},{number(settle)})'


def _lines(
    steps: Sequence[Step],
    compiler: StepCompiler,
    *,
    top: Volt | None = None,
    weights: Sequence[tuple[float, bool]] = (),
    still: tuple[float, float] | None = None,
) -> tuple[list[str], Second, int]:
    """Return the Lua of steps, their longest time, s, and how many of them are counted.

    Args:
        top: rung at which the levels are those of the steps; they scale with `v`. None: levels as they are.
        weights: of each `Measure`, and whether its flag counts.
        still: V and A below which a `Measure` counts as cold.
    """
    lines: list[str] = []
    seconds, steps_counted, measures = 0.0, 0, iter(weights)
    levels: dict[str, Volt] = {}

    def level(volts: Volt) -> str:
        return number(volts) if top is None or volts == 0 else f"v*{number(volts / top)}"

    for step in steps:
        seconds += STATEMENT
        steps_counted += 1
        match step:
            case Level(channel, volts):
                steps_counted -= 1
                lines.append(f"{channel}.source.levelv={level(volts)}")
                levels[channel] = volts
            case Ramp(channel, volts, rate):
                lines.append(f"mtj_to({channel},{level(volts)},{number(rate * RAMP_STEP)})")
                small = math.ceil(abs(volts - levels.get(channel, 0.0)) / (rate * RAMP_STEP))
                seconds += small * (RAMP_STEP + STATEMENT)
                levels[channel] = volts
            case Hold(duration):
                seconds += duration
                if duration > 0:
                    lines.append(f"mtj_wait({number(duration)})")
                else:
                    steps_counted -= 1
            case Limit(channel, limit, range_i):
                lines.append(f"mtj_limit({channel},{number(limit)},{number(compiler.range_i(range_i))})")
            case Aperture(channel, aperture):
                steps_counted -= 1
                lines.append(f"{channel}.measure.nplc={number(aperture * compiler.line_frequency)}")
                compiler.apertures[channel] = aperture
            case Watch(channel):
                lines.append(f"mtj_see({channel},{level(levels.get(channel, 0.0))})")
            case Measure(channel, _) if still is not None:
                seconds += compiler.reading_time(channel)
                lines.append(f"mtj_still({channel},{number(still[0])},{number(still[1])}{compiler.known(channel)})")
            case Measure(channel, _):
                seconds += compiler.reading_time(channel)
                weight, flagged = next(measures)
                present = level(levels.get(channel, 0.0))
                register = condition_of(channel)
                counts = str(flagged).lower()
                known = compiler.known(channel)
                lines.append(f"mtj_add({channel},{register},{present},{weight:.0f},{counts}{known})")
    return lines, seconds, steps_counted


def attempts_in(texts: Sequence[str], program: CellProgram, where: str) -> list[tuple[CellAttempt, bool]]:
    """Return the attempts that a script has noted, each with whether it read on the largest range as well.

    Args:
        texts: of the attempts; one that was begun and not ended has no result, and can be the last alone.
        where: name of the instrument.

    Raises:
        InstrumentError: they are not those of cells of the program, one after the other.
    """
    tasks = {cell.number: cell for cell in program.cells}
    order = {cell.number: k for k, cell in enumerate(program.cells)}
    made: list[tuple[CellAttempt, bool]] = []
    for text in texts:
        fields = text.split()
        try:
            cell, attempt = int(fields[0]), int(fields[1])
            before = made[-1][0] if made else None
            ended = len(fields) == 7
            if before is None or before.cell != cell:
                after = before is None or order[before.cell] < order[cell]
                follows = after and attempt == 1
            else:
                follows = attempt == before.attempt + 1 and not before.flag and not before.verified
            most = min(tasks[cell].budget, len(program.ladder))
            if not (follows and attempt <= most and len(fields) in (2, 7) and (ended or text is texts[-1])):
                raise ValueError(text)
            made.append((_attempt(cell, attempt, fields[2:]), ended and fields[6] == "1"))
        except (ValueError, IndexError, KeyError) as error:
            words = f"{where}: '{text}' is no attempt of the script, or not the next one"
            raise InstrumentError(f"{words}. {LISTEN}") from error
    return made


def _attempt(cell: int, attempt: int, fields: Sequence[str]) -> CellAttempt:
    if not fields:
        return CellAttempt(cell, attempt, math.nan, Flag.UNKNOWN, Flag.UNKNOWN, False)
    flag = int(fields[1])
    if not 0 <= flag <= (Flag.COMPLIANCE | Flag.OVERRANGE):
        raise ValueError(fields[1])
    current = math.nan if flag & Flag.OVERRANGE else float(fields[0])
    if not flag & Flag.OVERRANGE and not abs(current) < OVERFLOW:  # which the script flags
        raise ValueError(fields[0])
    pulse = Flag.COMPLIANCE if fields[2] == "1" else Flag(0)
    return CellAttempt(cell, attempt, current, Flag(flag), pulse, fields[3] == "1")
