"""Switching off a 2450, 2460 or 2461 in an emergency: both command sets, since nothing is asked before it.

TSP names the level of the present source function and no other one: in that command set the level of the function that
is not in use stays as it was left, behind an output that is off.
"""

from collections.abc import Sequence

from labctl.core.transport import Transport

LANGUAGES = ("SCPI", "TSP", "SCPI2400")
TSP_OFF = ("smu.source.level=0", "smu.source.output=smu.OFF")
SCPI_STATE = (":OUTP?", ":SOUR:VOLT?", ":SOUR:CURR?")
TSP_STATE = "print(smu.source.output,smu.source.level)"


def switched_off(transport: Transport, scpi_off: Sequence[str]) -> tuple[str, str, str, str]:
    """Switch off by the first bytes of a fresh connection, then ask which command set it has, and what it does.

    Args:
        scpi_off: what switches it off in the command sets of SCPI.

    Returns:
        The command set; whether the output is on, as 0 or 1; its level in V, and in A where it told one.

    Raises:
        InstrumentError: it cannot be reached, or does not answer.
    """
    lines = "\n".join(["abort", ":ABOR", *scpi_off, *TSP_OFF])
    language = transport.cut_in(lines, "*LANG?", lambda line: line.strip().upper() in LANGUAGES)[-1].strip().upper()
    if language == "TSP":
        output, _, level = transport.query(TSP_STATE).strip().partition("\t")
        return language, {"smu.OFF": "0", "0": "0"}.get(output.strip(), "1"), level, "0"
    replies = transport.query(";".join(SCPI_STATE)).strip().split(";")
    output, volts, amps = (*replies, "", "", "")[:3]
    return language, output, volts, amps
