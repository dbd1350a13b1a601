"""Reads on many routes as one script of a Keithley 2600B: what moves the relays, reads, and verifies 0 V in between.

Steps that several routes share are sent once, as a function. Lua 5.0, as in `keithley2600b_program`, whose functions
the script calls.
"""

import re
from dataclasses import dataclass

from instruments.keithley2600b_program import cold_lines, move_line
from instruments.keithley2600b_script import COUNTED_STEPS
from instruments.keithley2600b_steps import SLACK, STATEMENT, StepCompiler
from instruments.tsp import number
from labctl.core.cell_program import ReadProgram, RouteReads
from labctl.core.source import Aperture
from labctl.core.units import Second

_SAMPLE = re.compile(r"^r\[\d+\]=(.*)$")


@dataclass(frozen=True)
class CompiledReads:
    """The script of a program: its statements, its longest time, s, and how many of its steps are counted."""

    lines: list[str]
    seconds: Second
    steps: int


def compiled_reads(program: ReadProgram, compiler: StepCompiler) -> CompiledReads:
    """Return the script of a program on channels that `compiler` has set up.

    Raises:
        InstrumentError: a level or limit beyond the setup of its channel.
    """
    lines = [f"local x=node[{program.node}].channel", "local p=function(t) table.insert(r,t) end", "local q={}"]
    functions: dict[str, int] = {}
    seconds, steps = 0.0, 0

    def function(body: list[str]) -> str:
        text = "\n".join(body)
        if text not in functions:
            functions[text] = len(functions) + 1
            lines.extend([f"q[{functions[text]}]=function()", *body, "end"])
        return f"q[{functions[text]}]"

    for route in program.routes:
        for step in (*route.steps, *route.cold):
            compiler.check(step)
        for move in route.moves:
            lines.append(move_line(move, program.relays))
            seconds += program.relays + 2 * program.relay + 4 * STATEMENT
        steps += len(route.moves)
        reads, of_reads, counted = _reads(route, compiler)
        cold, of_cold, still = cold_lines(route.cold, program.cold_voltage, program.cold_current, compiler)
        lines.append(f"{function(reads)}()")
        lines.append(f"mtj_rest({function(cold)},{program.tries},{number(program.settle)})")
        seconds += of_reads + program.tries * (of_cold + program.settle)
        steps += counted + still
    return CompiledReads(lines, SLACK + 2 * seconds, steps)


def _reads(route: RouteReads, compiler: StepCompiler) -> tuple[list[str], Second, int]:
    """Return the Lua of the reads of a route, their longest time, s, and how many of their steps are counted."""
    lines, seconds = compiler.compile(route.steps)
    counted = sum(line.startswith(COUNTED_STEPS) for line in lines)
    apertures = sum(isinstance(step, Aperture) for step in route.steps)
    return [_SAMPLE.sub(r"p(\1)", line) for line in lines], seconds + apertures * STATEMENT, counted
