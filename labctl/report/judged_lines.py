"""Yield, limits and what failed of a run in a few lines of text, from the journal of the run alone."""

from collections.abc import Iterator
from pathlib import Path

from labctl.analysis.capability import Capability, capability
from labctl.analysis.yields import Cause, Judged, pareto, yields, zone_sizes
from labctl.analysis.zones import zone_of
from labctl.config.bins import is_good, is_measured, passes
from labctl.config.pass_range import limits_of
from labctl.core.figure import Figure, Figures
from labctl.report.judgement import cause_of, values_of
from labctl.report.rule_words import in_words
from labctl.storage.identity import Identity
from labctl.storage.run_log import RunState, read_state


def lines_of(path: Path) -> Iterator[str]:
    """Yield the lines of the run in the folder `path`; nothing of what is no run folder."""
    if (path / "journal.db").is_file():
        yield from lines(read_state(path))


def lines(state: RunState) -> Iterator[str]:
    """Yield how many dies are good and where, figures beside their limits, and what failed, each if there is any."""
    declared, places = Figures.of_run(state.meta), Identity.of(state).places
    rules = list(state.meta.get("bins") or ())
    whens = {str(rule["when"]): in_words(str(rule["when"]), declared) for rule in rules}
    tried = [(die, die.last) for die in state.subjects if die.last is not None and die.bin]
    dies = [
        Judged(die.bin, last.hard, zone_of(die.at, places), cause_of(die.name, last.hard, last.rule, die.reason, whens))
        for die, last in tried
        if last.hard
    ]
    if dies and not all(is_measured(die.hard) for die in dies):
        yield _yield(dies)
    limits = limits_of(rules)
    for name in declared.in_order(limits):
        values = values_of((last for _, last in tried), name)
        if values:
            yield _limit(capability(name, values, limits[name]), declared[name])
    causes = pareto((die.bin, die.reason) for die in dies if not passes(die.hard))
    if causes:
        yield f"Failed: {', '.join(_cause(cause) for cause in causes)}"


def _cause(cause: Cause) -> str:
    """Return a cause with what is inside of it, numbers only where it is several.

    >>> _cause(Cause("contact", 3, 1.0, 1.0, (("pads", 2), ("needles", 1)))), _cause(Cause("weak", 1, 1.0, 1.0))
    ('3 contact (2 pads; 1 needles)', '1 weak')
    """
    several = len(cause.inside) > 1
    inside = "; ".join(f"{number} {reason}" if several else reason for reason, number in cause.inside)
    return f"{cause.number} {cause.name}" + (f" ({inside})" if inside else "")


def _yield(dies: list[Judged]) -> str:
    good = [die for die in dies if is_good(die.hard)]
    low, high = next((one.interval for one in yields(dies) if is_good(one.hard)), (0.0, 0.0))
    interval = f", 95 %: {100 * low:.0f} to {100 * high:.0f} %" if good else ""
    of = zone_sizes(dies)
    zones = [f"{zone} {sum(die.zone is zone for die in good)} of {number}" for zone, number in of.items() if number]
    share = f"{100 * len(good) / len(dies):.1f} %{interval}"
    text = f"Yield: {len(good)} of {len(dies)} dies that have a bin are good ({share})"
    return f"{text}; {', '.join(zones)}" if zones else text


def _limit(one: Capability, figure: Figure) -> str:
    bounds = [f"at least {figure.text(one.low)}"] if one.low is not None else []
    bounds += [f"at most {figure.text(one.high)}"] if one.high is not None else []
    mean = f", mean {figure.text(one.mean)}" if one.mean is not None else ""
    cpk = f", Cpk {one.cpk:.2f}" if one.cpk is not None else ""
    interval = f" ({one.interval[0]:.2f} to {one.interval[1]:.2f})" if one.interval is not None else ""
    unknown = f", {one.unknown} without a value" if one.unknown else ""
    beyond = one.below + one.above
    return f"{figure.title}, {' and '.join(bounds)}: {beyond} of {one.dies} dies beyond{unknown}{mean}{cpk}{interval}"
