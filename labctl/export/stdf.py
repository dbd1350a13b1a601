"""A run as STDF V4: every try of a die is a part, what it came to are parametric tests, its bins are ours.

All that is written stands in the run's own journal. Visits of a golden die are no parts and dies that were skipped were
not tested, so neither is in the file; the CSV has both.
"""

import math
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from labctl.analysis.figures import SECONDS
from labctl.config.bins import is_good, is_measured, passes
from labctl.config.pass_range import PassRange, limits_of
from labctl.core.die_state import ACTIVE, State
from labctl.core.figure import Figure, Figures
from labctl.export.stdf_records import MISSING_I2, record
from labctl.storage.identity import Identity
from labctl.storage.run_log import DieState, RunState, Try

_ABNORMAL = frozenset({State.ERROR, State.INTERRUPTED, State.LIMIT_STOP, *ACTIVE})
NO_BIN = "no bin"
_FLAT = {0: "D", 90: "L", 180: "U", 270: "R"}
"""Where the notch is, by its angle clockwise from the bottom."""
_OWN = 10_000
"""Test numbers below are declared."""


def number_of(figure: Figure) -> int:
    """Return the test number of a figure: the declared one, or for good one that is made from its name.

    >>> number_of(Figure("r_p", "R_P", "", number=300)), number_of(Figure("my_own", "", ""))
    (300, 1811635518)
    """
    return figure.number or _OWN + zlib.crc32(figure.key.encode()) % (2**31 - _OWN)


def scale_of(figure: Figure) -> int:
    """Return the power of ten by which a viewer multiplies; 0 where the figure is shown by another factor.

    >>> scale_of(Figure("r_p", "R_P", "", factor=1e-3)), scale_of(Figure("seconds", "time", "", factor=1 / 60))
    (-3, 0)
    """
    power = round(math.log10(figure.factor)) if figure.factor > 0 else 0
    return power if math.isclose(10.0**power, figure.factor) and abs(power) <= 127 else 0


def soft_numbers(names: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Return a number for each soft bin, given with its hard bin: that of the hard bin where it is the only one.

    >>> soft_numbers([("good", 1), ("leaky", 4), ("weak", 4)])
    {'good': 1, 'leaky': 400, 'weak': 401}
    """
    by_hard: dict[int, list[str]] = {}
    for name, hard in sorted(set(names)):
        by_hard.setdefault(hard, []).append(name)
    return {
        name: hard if len(in_bin) == 1 else min(hard * 100 + k, 32767)
        for hard, in_bin in sorted(by_hard.items())
        for k, name in enumerate(in_bin)
    }


def stdf(state: RunState) -> Iterator[bytes]:
    """Yield the records of a run, finished or not, in the order of the specification."""
    meta, parts = state.meta, sorted(_parts(state), key=lambda p: (p[1].since, p[0].name, p[1].number))
    rules: list[dict[str, Any]] = list(meta.get("bins", []))
    limits, declared = limits_of(rules), Figures.of_run(meta)
    soft = soft_numbers([*((r["bin"], r["hard"]) for r in rules), *((_bin(t), t.hard) for _, t in parts)])
    # the format counts in the local time of the tester
    local = float(meta.get("utc_offset", 0.0))
    begun = min((t.since for _, t in parts), default=state.since) + local
    ended = max((t.until for _, t in parts), default=state.until) + local
    identity = Identity.of(state)
    wafer = identity.wafer
    yield record("FAR")
    yield _mir(state, begun, identity)
    flat = {} if identity.notch is None else {"WF_FLAT": _FLAT[identity.notch]}
    yield record("WCR", POS_X="R", POS_Y="D", **flat)
    yield record("WIR", START_T=_time(begun), WAFER_ID=wafer)
    results: dict[str, list[float]] = {}
    for die, one in parts:
        yield record("PIR")
        figures = _figures(one, declared)
        yield from (_ptr(figure, value, limits.get(figure.key)) for figure, value in figures)
        yield _prr(die, one, len(figures), soft)
        for figure, value in figures:
            results.setdefault(figure.key, []).append(value)
    newest: dict[str, Try] = {die.name: one for die, one in parts}
    counts = {
        "PART_CNT": len(newest),
        "RTST_CNT": len(parts) - len(newest),
        "ABRT_CNT": sum(one.state in _ABNORMAL for _, one in parts),
    }
    if not any(is_measured(one.hard) for one in newest.values()):
        counts["GOOD_CNT"] = sum(is_good(one.hard) for one in newest.values())
    yield record("WRR", FINISH_T=_time(ended), WAFER_ID=wafer, **counts)
    for key in sorted(results, key=lambda key: (number_of(declared[key]), key)):
        yield _tsr(declared[key], results[key], limits.get(key))
    hard = Counter(one.hard for one in newest.values())
    for number, count in sorted(hard.items()):
        names = sorted({_bin(one) for one in newest.values() if one.hard == number})
        summary = {"HBIN_NUM": number, "HBIN_CNT": count, "HBIN_PF": _letter(number), "HBIN_NAM": ", ".join(names)}
        yield record("HBR", HEAD_NUM=255, SITE_NUM=255, **summary)
    bins = Counter((soft[_bin(one)], _bin(one), one.hard) for one in newest.values())
    for (number, name, of), count in sorted(bins.items()):
        summary = {"SBIN_NUM": number, "SBIN_CNT": count, "SBIN_PF": _letter(of), "SBIN_NAM": name}
        yield record("SBR", HEAD_NUM=255, SITE_NUM=255, **summary)
    yield record("PCR", HEAD_NUM=255, SITE_NUM=255, **counts)
    outcome = ": ".join(part for part in (state.outcome or "unfinished", state.reason) if part)
    yield record("MRR", FINISH_T=_time(state.until + local), USR_DESC=str(meta.get("title", "")), EXC_DESC=outcome)


def write_stdf(state: RunState, path: Path) -> None:
    """Write a run to a new file; FileExistsError if there is one."""
    with path.open("xb") as file:
        for one in stdf(state):
            file.write(one)


def _parts(state: RunState) -> Iterator[tuple[DieState, Try]]:
    """Yield every try of every die that was touched."""
    for die in state.subjects:
        for one in die.tries:
            if one.state is not State.SKIPPED or one.figures:
                yield die, one


def _time(utc: float) -> int:
    return min(max(int(utc), 0), 2**32 - 1)


def _letter(hard: int) -> str:
    """Return pass, fail, or a blank: nothing judges a die that was measured only, or that has no bin yet."""
    return " " if _unjudged(hard) else "P" if is_good(hard) else "F"


def _unjudged(hard: int) -> bool:
    return hard == 0 or is_measured(hard)


def _bin(one: Try) -> str:
    return one.bin or NO_BIN


def _figures(one: Try, declared: Figures) -> list[tuple[Figure, float]]:
    """Return the figures of a try and its time, in the order of their test numbers."""
    values = dict(one.figures)
    if one.seconds:
        values.setdefault(SECONDS.key, one.seconds)
    figures = [declared[name] for name in values]
    return [(f, values[f.key]) for f in sorted(figures, key=lambda f: (number_of(f), f.key))]


def _mir(state: RunState, begun: float, identity: Identity) -> bytes:
    meta = state.meta
    campaign: Mapping[str, Any] = next((f for n, f in meta.get("files", {}).items() if n.startswith("00-")), {})
    return record(
        "MIR",
        SETUP_T=_time(state.since + float(meta.get("utc_offset", 0.0))),
        START_T=_time(begun),
        MODE_COD="E",
        RTST_COD="Y" if state.resumes else "N",
        LOT_ID=identity.lot or identity.wafer,
        PART_TYP=str(meta.get("name", "")),
        NODE_NAM=str(meta.get("host", "")),
        TSTR_TYP="mtj-labctl",
        JOB_NAM=str(meta.get("name", "")),
        JOB_REV=str(campaign.get("sha256", ""))[:16],
        OPER_NAM=str(meta.get("operator", "")),
        EXEC_TYP="mtj-labctl",
        EXEC_VER=str(meta.get("versions", {}).get("mtj-labctl", "")),
        TST_TEMP=_celsius(meta.get("temperature")),
        USER_TXT=str(meta.get("title", "")),
        AUX_FILE=str(campaign.get("path", "")),
        SETUP_ID=str(meta.get("body", "")),
        SERL_NUM=str(meta.get("git_commit", "")),
    )


def _celsius(kelvin: float | None) -> str:
    """Return a temperature as testers write it, "" if it is not known.

    >>> _celsius(358.15), _celsius(None)
    ('85.0 C', '')
    """
    return "" if kelvin is None else f"{kelvin - 273.15:.1f} C"


def _ptr(figure: Figure, value: float, limit: PassRange | None) -> bytes:
    finite, bounds = math.isfinite(value), limit or PassRange()
    low, high = math.isfinite(bounds.low), math.isfinite(bounds.high)
    scale = scale_of(figure)
    judged = low or high
    failed = judged and not (finite and bounds.passes(value))
    form = f"%9.{figure.digits}f" if figure.digits >= 0 and (scale or figure.factor == 1) else "%9.4g"
    return record(
        "PTR",
        TEST_NUM=number_of(figure),
        TEST_FLG=(0 if finite else 2) | (0 if judged else 64) | (128 if failed else 0),
        PARM_FLG=(8 if finite and high and value > bounds.high else 0)
        | (16 if finite and low and value < bounds.low else 0)
        | (64 if low and bounds.low_passes else 0)
        | (128 if high and bounds.high_passes else 0),
        RESULT=value if finite else 0.0,
        TEST_TXT=figure.key,
        OPT_FLAG=2 | 4 | 8 | (0 if low else 64) | (0 if high else 128),
        RES_SCAL=scale,
        LLM_SCAL=scale if low else 0,
        HLM_SCAL=scale if high else 0,
        LO_LIMIT=bounds.low if low else 0.0,
        HI_LIMIT=bounds.high if high else 0.0,
        UNITS=figure.unit,
        C_RESFMT=form,
        C_LLMFMT=form if low else "",
        C_HLMFMT=form if high else "",
    )


def _tsr(figure: Figure, values: Sequence[float], limit: PassRange | None) -> bytes:
    """Return the synopsis of a figure over all parts."""
    finite = [value for value in values if math.isfinite(value)]
    judged = limit is not None and (math.isfinite(limit.low) or math.isfinite(limit.high))
    failed = {} if limit is None or not judged else {"FAIL_CNT": sum(not limit.passes(value) for value in values)}
    extremes = {"TEST_MIN": min(finite), "TEST_MAX": max(finite)} if finite else {}
    sums = {"TST_SUMS": math.fsum(finite), "TST_SQRS": math.fsum(v * v for v in finite)} if finite else {}
    return record(
        "TSR",
        HEAD_NUM=255,
        SITE_NUM=255,
        TEST_TYP="P",
        TEST_NUM=number_of(figure),
        EXEC_CNT=len(values),
        **failed,
        TEST_NAM=figure.key,
        OPT_FLAG=0b11001100 | (0 if finite else 0b110011),
        **extremes,
        **sums,
    )


def _prr(die: DieState, one: Try, tests: int, soft: Mapping[str, int]) -> bytes:
    texts = ["" if one.state is State.DONE else one.state.value, one.rule, one.reason]
    if die.suspect:
        texts.append(f"suspect: {die.suspect}")
    return record(
        "PRR",
        PART_FLG=(1 if one.number > 1 else 0)
        | (4 if one.state in _ABNORMAL else 0)
        | (8 if not passes(one.hard) else 0)
        | (16 if _unjudged(one.hard) else 0),
        NUM_TEST=tests,
        HARD_BIN=one.hard,
        SOFT_BIN=soft[_bin(one)],
        X_COORD=_coordinate(die.at[0]),
        Y_COORD=_coordinate(die.at[1]),
        TEST_T=min(round(one.seconds * 1e3), 2**32 - 1),
        PART_ID=die.name,
        PART_TXT="; ".join(text for text in texts if text),
    )


def _coordinate(value: int) -> int:
    return value if abs(value) <= 32767 else MISSING_I2
