"""The watch screen: where a run stands, on a terminal of any size, and as one line.

A die is a letter on the map, so it can be read without colours and over a slow line.
"""

import time
from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.table import Table as Grid
from rich.text import Text

from labctl.config.bins import MEASURED
from labctl.core.events import Level
from labctl.core.exit_codes import ExitCode
from labctl.report.bench_state import LIVE
from labctl.report.live_state import Now
from labctl.report.run_folder import SOMEBODY
from labctl.terminal.progress import duration
from labctl.wafer_maps import palette

_BUSY = ("moving", "contact check", "retouch", "running", "sealing", "interrupted", "error", "broken off")
_LEVELS: Mapping[str, tuple[str, str]] = {Level.ALARM: ("▲", "bold red"), Level.WARNING: ("△", "yellow")}
_COLOURS = ("yellow", "red", "magenta", "cyan", "blue", "bright_red", "bright_magenta", "bright_cyan")


def line(now: Now) -> str:
    """Return where a run stands, as one line."""
    kinds = ", ".join(
        f"{n} {kind}" for kind, n in now.kinds.items() if kind not in (*_BUSY, "pending", "now", "left out")
    )
    parts = [f"{duration(now.elapsed)}: {now.done} of {now.total} dies done" + (f" ({kinds})" if kinds else "")]
    if now.left is not None:
        parts.append(f"ends {ends(now)}")
    for u in now.under_way[:2]:
        figures = f" ({', '.join(u.figures)})" if u.figures else ""
        parts.append(" ".join([u.die, u.doing, *_percent(u.share)]) + figures)
    parts += [f"last {now.last}"] if now.last and now.alive else []
    if not now.alive:
        parts.append(now.text)
    parts.append(disk(now))
    if now.alive:
        parts.append(f"last recorded {_ago(now)}")
    if now.alarms:
        _, _, die, text = now.alarms[-1]
        parts.append(f"{now.warnings} warnings, the last: {f'{die}: ' if die else ''}{text}")
    return "; ".join(parts)


def screen(now: Now, width: int, height: int) -> RenderableType:
    """Return where a run stands for a terminal of `width` x `height` characters; what does not fit is left out."""
    look = _look(now)
    head = Text.assemble((now.name, "bold"), f"  {now.title}  " if now.title else "  ", (now.body, "dim"))
    colour = "cyan" if now.alive else "yellow" if now.exit_code else "red"
    if now.exit_code == ExitCode.GOOD:
        colour = "green"
    text = now.text.removesuffix(f"; {now.bench}") if now.bench else now.text
    state = Text.assemble((text, colour), (f"  {now.alive}" if now.alive != SOMEBODY else "", "dim"))
    facts = Grid.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _rows(now):
        facts.add_row(name, value)
    drawn = _map(now, look, width, height)
    body: RenderableType = facts
    if drawn is not None:
        body = Grid.grid(padding=(0, 4))
        body.add_row(drawn, facts)
    parts: list[RenderableType] = [_cut(head, width), _cut(state, width), Text(), body, Text(), _legend(now, look)]
    used = 6 + max(len(now.marks) and _rows_of(now), len(_rows(now)) + (2 if width < 100 else 0))
    room = height - used - 2 - len(now.command and "x") - (0 if not now.bench else -(-len(now.bench) // width))
    if now.alarms and room > 1:
        parts.append(Text())
        shown = now.alarms[-(room - 1) :]
        parts += [_alarm(a, width) for a in shown]
    if now.bench:
        parts.append(Text(now.bench, "bold red" if now.bench.startswith(LIVE) else "bold"))
    if now.command:
        parts.append(Text(f"to go on: {now.command}", "bold"))
    return Group(*parts)


def _rows(now: Now) -> list[tuple[str, RenderableType]]:
    judged = [f"{now.good} good"] if now.good or not now.measured else []
    measured = [f"{now.measured} measured"] if now.measured else []
    done = Text(", ".join([f"{now.done} of {now.total} dies", *judged, *measured]))
    rows: list[tuple[str, RenderableType]] = [("done", done), ("elapsed", Text(duration(now.elapsed)))]
    if now.alive:
        unknown = "soon" if now.done == now.total else "not known before the first die is done"
        rows.append(("ends", Text(ends(now) if now.left is not None else unknown)))
    for u in now.under_way[:3]:
        again = [f"try {u.try_no}"] if u.try_no > 1 else []
        progress = ", ".join([f" {u.doing}", *again, duration(u.seconds), *_percent(u.share)])
        rows.append(("now", Text.assemble((u.die, "bold"), progress)))
        if u.figures:
            rows.append(("", Text(", ".join(u.figures))))
    if len(now.under_way) > 3:
        rows.append(("", Text(f"and {len(now.under_way) - 3} more dies", "dim")))
    if now.last:
        rows.append(("last", Text(now.last)))
    rows.append(("disk", Text(disk(now))))
    rows.append(
        ("recorded", Text(_ago(now) if now.alive else time.strftime("%a %H:%M:%S", time.localtime(now.committed))))
    )
    return rows


def _percent(share: float | None) -> list[str]:
    return [] if share is None else [f"{share:.0%}"]


def ends(now: Now) -> str:
    """Return when the run ends, as a range."""
    assert now.left is not None
    soonest, likely, latest = now.left
    at = [time.strftime("%H:%M", time.localtime(now.utc + s)) for s in (soonest, latest)]
    span = at[0] if at[0] == at[1] else f"{at[0]} to {at[1]}"
    minutes = round(likely / 60)
    time_left = duration(60.0 * minutes).removesuffix(" 0 s") if minutes > 1 else duration(round(likely))
    return f"in about {time_left} ({span})"


def disk(now: Now) -> str:
    """Return what the run takes on the disk, and what is free."""
    estimate = f" of about {decimal(int(now.estimate))}" if now.estimate else ""
    return f"{decimal(now.used)}{estimate} used, {decimal(now.free)} free"


def _ago(now: Now) -> str:
    seconds = now.utc - now.committed
    return "just now" if seconds < 1 else f"{seconds:.0f} s ago" if seconds < 60 else f"{duration(seconds)} ago"


def _look(now: Now) -> Mapping[str, tuple[str, str]]:
    """Return letter and style of each kind of die."""
    order = sorted(now.kinds, key=lambda k: (k == "pending", not any(m.good for m in now.marks if m.kind == k)))
    good = next((m.kind for m in now.marks if m.good), "")
    letters = palette.of_bins([k for k in order if k not in (*_BUSY, "now")], good)
    colours = iter(_COLOURS * (len(order) + 1))
    look = {}
    for kind in order:
        if kind == "now":
            look[kind] = ("●", "bold bright_white")
        elif kind == "pending":
            look[kind] = ("·", "dim")
        elif kind in _BUSY:
            look[kind] = ("!", "bold yellow")
        else:
            own = {good: "green", MEASURED: "blue", "skipped": "dim", "left out": "dim"}.get(kind)
            look[kind] = (letters[kind][1], own or next(colours))
    return look


def _rows_of(now: Now) -> int:
    rows = [m.at[1] for m in now.marks]
    return max(rows) - min(rows) + 1 if rows else 0


def _map(now: Now, look: Mapping[str, tuple[str, str]], width: int, height: int) -> Text | None:
    """Return the map of the wafer, None if it leaves no room for the rest."""
    if not now.marks:
        return None
    left, top = min(m.at[0] for m in now.marks), min(m.at[1] for m in now.marks)
    wide = max(m.at[0] for m in now.marks) - left + 1
    if 2 * wide > width - 46 or _rows_of(now) > height - 10:
        return None
    cells = {(m.at[0] - left, m.at[1] - top): m for m in now.marks}
    drawn = Text()
    for row in range(_rows_of(now)):
        for col in range(wide):
            mark = cells.get((col, row))
            letter, style = look[mark.kind] if mark else (" ", "default")
            drawn.append(letter, style)
            drawn.append("?" if mark and mark.suspect else " ", "yellow")
        drawn.append("\n")
    drawn.rstrip()
    return drawn


def _legend(now: Now, look: Mapping[str, tuple[str, str]]) -> Text:
    text = Text()
    for kind, (letter, style) in look.items():
        text.append(letter, style)
        text.append(f" {kind} {now.kinds[kind]}   ")
    if any(m.suspect for m in now.marks):
        text.append("?", "yellow")
        text.append(" in doubt")
    return text


def _alarm(alarm: tuple[float, str, str, str], width: int) -> Text:
    utc, level, die, message = alarm
    sign, style = _LEVELS[level]
    at = time.strftime("%H:%M", time.localtime(utc))
    return _cut(Text.assemble((f"{sign} {at} ", style), (f"{die}: " if die else "", "bold"), message), width)


def _cut(text: Text, width: int) -> Text:
    text.truncate(width, overflow="ellipsis")
    return text
