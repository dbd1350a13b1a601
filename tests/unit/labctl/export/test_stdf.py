"""STDF V4: bytes as the specification says, and a whole run as another program reads it."""

import io
import math
import struct
import warnings
from dataclasses import replace

import pytest

from labctl.config.pass_range import PassRange, limits_of
from labctl.core.die_state import State
from labctl.core.figure import Figure
from labctl.export.stdf import number_of, soft_numbers, stdf, write_stdf
from labctl.export.stdf_records import ENCODERS, RECORDS, record
from labctl.storage.run_log import DieState, RunState, Try
from tests.declared import DECLARED, FIGURES

FIDELITY = {"bin": "low-fidelity", "hard": 2, "when": "fidelity < 98 %"}
RULES = [
    {"bin": "leaky", "hard": 4, "when": "r_p > 5 kohm and tmr < 40 %"},
    FIDELITY,
    {"bin": "soft", "hard": 4, "when": "v_switch_p >= 0.5 V"},
]
META = {
    "name": "overnight",
    "title": "three dies, ümlaut",
    "host": "bench-pc",
    "body": "bench 'probe station'",
    "git_commit": "abc123",
    "versions": {"mtj-labctl": "0.1.0"},
    "files": {"00-overnight.yaml": {"path": "overnight.yaml", "sha256": "0123456789abcdef0123"}},
    "dies": [
        {"name": "W1-x3y0", "at": [3, 0], "wafer": "W1"}, {"name": "W1-x4y0", "at": [4, 0], "wafer": "W1"},
        {"name": "W1-x-1y2", "at": [-1, 2], "wafer": "W1"}, {"name": "W1-x9y9", "at": [99999, 9], "wafer": "W1"},
    ],
    "bins": RULES,
    **DECLARED,
}  # fmt: skip
T = 1_790_000_000.0


def run_state():
    def one(number, state, since, seconds=0.0, **more):
        return Try(number, state, T + since, T + since + seconds, seconds, **more)

    good = {"fidelity": 0.98, "r_p": 2400.0, "tmr": 1.2}
    bad = {"fidelity": 0.97, "v_switch_p": 0.5, "strange": 7.0, "contact": math.inf}
    dies = [
        DieState("W1-x3y0", (3, 0), (
            one(1, State.DONE, 0, 61.5, bin="good", hard=1, rule="within all limits", figures=good),
        ), State.DONE),
        DieState("W1-x4y0", (4, 0), (
            one(1, State.ERROR, 70, 3, bin="error", hard=7, reason="the worker died"),
            one(2, State.DONE, 80, 60, bin="low-fidelity", hard=2, rule="fidelity < 98 %: it is 0.97", figures=bad),
        ), State.DONE, suspect="the golden die drifted"),
        DieState("W1-x-1y2", (-1, 2), (), State.SKIPPED, "bin 7 of the map is excluded"),
        DieState("W1-x9y9", (99999, 9), (one(1, State.INTERRUPTED, 150, 2, reason="the run was broken off"),)),
        DieState("W1-x3y0@1", (3, 0), (one(1, State.DONE, 145, 5, figures=good),), State.DONE, golden=True),
    ]  # fmt: skip
    return RunState(META, {d.name: d for d in dies}, (), T - 10, T + 200, 1, "abort", 4, "stopped by the operator")


# -- bytes


def test_types_are_little_endian_and_texts_have_their_length():
    assert ENCODERS["U4"](0x01020304) == b"\x04\x03\x02\x01"
    assert ENCODERS["I2"](-2) == b"\xfe\xff"
    assert ENCODERS["R4"](1.5) == struct.pack("<f", 1.5)
    assert ENCODERS["Cn"]("ohm") == b"\x03ohm"
    assert ENCODERS["Cn"]("") == b"\x00"
    assert ENCODERS["Cn"]("µm") == b"\x02?m"
    assert ENCODERS["Cn"]("x" * 300) == b"\xff" + b"x" * 255
    assert ENCODERS["Bn"](b"\x01\x02") == b"\x02\x01\x02"


def test_a_part_is_written_field_by_field():
    found = record(
        "PRR", PART_FLG=8, NUM_TEST=3, HARD_BIN=2, SOFT_BIN=2, X_COORD=-1, Y_COORD=7, TEST_T=61500, PART_ID="D1"
    )  # fmt: skip
    body = struct.pack("<BBBHHHhhI", 1, 1, 8, 3, 2, 2, -1, 7, 61500) + b"\x02D1" + b"\x00" + b"\x00"
    assert found == struct.pack("<HBB", len(body), 5, 20) + body


def test_a_test_is_written_field_by_field():
    found = record(
        "PTR", TEST_NUM=300, TEST_FLG=128, PARM_FLG=8, RESULT=5100.0, TEST_TXT="r_p", OPT_FLAG=78, RES_SCAL=-3,
        HLM_SCAL=-3, HI_LIMIT=5000.0, UNITS="ohm", C_RESFMT="%9.2f", C_HLMFMT="%9.2f",
    )  # fmt: skip
    body = struct.pack("<IBBBBf", 300, 1, 1, 128, 8, 5100.0) + b"\x03r_p\x00"
    body += struct.pack("<Bbbbff", 78, -3, 0, -3, 0.0, 5000.0) + b"\x03ohm\x05%9.2f\x00\x05%9.2f"
    body += struct.pack("<ff", 0.0, 0.0)
    assert found == struct.pack("<HBB", len(body), 15, 10) + body


def test_what_does_not_fit_is_refused():
    with pytest.raises(KeyError, match="HARD_BIN"):
        record("PRR", PART_FLG=0, NUM_TEST=0)
    with pytest.raises(ValueError, match="PIR has no field SITE"):
        record("PIR", SITE=1)
    with pytest.raises(ValueError, match=r"WIR\.START_T: -1 is no U4"):
        record("WIR", START_T=-1)
    with pytest.raises(ValueError, match="not one ASCII character"):
        record("WCR", POS_X="RR")
    with pytest.raises(ValueError, match="300 bytes"):
        ENCODERS["Bn"](bytes(300))


# -- limits and bins


def test_rules_of_bad_bins_are_limits():
    rules = [
        FIDELITY, {"bin": "worse", "hard": 3, "when": "fidelity <= 99 %"},
        {"bin": "a", "hard": 4, "when": "r_p > 5 kohm"}, {"bin": "b", "hard": 4, "when": "r_p >= 5 kohm"},
        {"bin": "c", "hard": 4, "when": "r_p < 1 kohm and tmr < 40 %"}, {"bin": "ok", "hard": 1, "when": "tmr > 1"},
    ]  # fmt: skip
    found = limits_of(rules)
    assert found == {"fidelity": PassRange(low=0.99, low_passes=False), "r_p": PassRange(high=5e3, high_passes=False)}
    assert not found["fidelity"].passes(0.99)
    assert found["fidelity"].passes(0.995)
    assert limits_of([FIDELITY])["fidelity"].passes(0.98)
    assert not limits_of([FIDELITY])["fidelity"].passes(0.979)


def test_soft_bins_have_numbers_of_their_own():
    assert soft_numbers([("good", 1), ("weak", 4), ("leaky", 4), ("good", 1)]) == {"good": 1, "leaky": 400, "weak": 401}


def test_test_numbers_are_the_same_in_every_run():
    known = {
        "fidelity": 100, "fidelity_worst": 101, "fidelity_blind": 102,
        "accuracy_train": 110, "accuracy_test": 111, "accuracy_worst": 112,
        "software_test": 113, "accuracy_untuned": 114, "software_train": 115, "accuracy_untuned_test": 116,
        "accuracy_calibrated": 117, "accuracy_subtracted": 118, "accuracy_drop": 119, "networks": 120,
        "information": 121, "labels": 122, "good": 200,
        "defects": 201, "short": 210, "open": 211, "stuck_p": 212, "stuck_ap": 213, "low_tmr": 214, "unreadable": 215,
        "not_reached": 216, "r_p": 300, "r_ap": 301, "tmr": 302, "v_switch": 400, "v_switch_p": 401,
        "v_switch_ap": 402, "wer_p": 410, "wer_ap": 411, "contact": 500, "touches": 501, "seconds": 600,
    }  # fmt: skip
    assert {key: number_of(FIGURES[key]) for key in FIGURES} == known
    others = [Figure("strange", "", ""), Figure("other", "", ""), *(FIGURES[f"r_p[{n} nm]"] for n in (60, 100))]
    assert [number_of(figure) for figure in others] == [100353387, 1498972992, 1706023224, 1904548164]


@pytest.mark.parametrize(("at", "x"), [(32767, 32767), (32768, -32768), (-32767, -32767), (-32768, -32768)])
def test_a_coordinate_that_the_format_cannot_hold_is_written_as_missing(at, x):
    state = run_state()
    die = replace(state.dies["W1-x3y0"], at=(at, 0))
    (part,) = [one for one in stdf(replace(state, dies={die.name: die})) if one[2:4] == bytes((5, 20))]
    assert struct.unpack("<BBBHHHhh", part[4:17])[-2:] == (x, 0)


def test_wafer_lot_and_notch_of_a_map_are_handed_on():
    state = run_state()
    about = {"wafer": "LOT42/07", "lot": "LOT42", "notch": 90, "reference": None, "places": [[3, 0]]}
    mir, wcr, wir = list(stdf(replace(state, meta={**META, "wafer_map": about})))[1:4]
    assert b"\x05LOT42" in mir
    assert wcr[4:][struct.calcsize("<fffB") :][:1] == b"L"
    assert wir.endswith(b"\x08LOT42/07")
    mir, wcr, wir = list(stdf(state))[1:4]
    assert b"\x02W1" in mir
    assert wcr[4:][struct.calcsize("<fffB") :][:1] == b" "
    assert wir.endswith(b"\x02W1")


def test_a_file_is_never_written_over(tmp_path):
    path = tmp_path / "run.stdf"
    write_stdf(run_state(), path)
    assert path.read_bytes() == b"".join(stdf(run_state()))
    with pytest.raises(FileExistsError):
        write_stdf(run_state(), path)


def test_a_run_in_which_nothing_was_tested_yet_is_a_file_too():
    dies = {d["name"]: DieState(d["name"], tuple(d["at"])) for d in META["dies"]}
    found = b"".join(stdf(RunState(META, dies, (), T, T + 1)))
    kinds = []
    while found:
        length, kind, subtype = struct.unpack_from("<HBB", found)
        kinds.append((kind, subtype))
        found = found[4 + length :]
    assert kinds == [RECORDS[name][:2] for name in ("FAR", "MIR", "WCR", "WIR", "WRR", "PCR", "MRR")]


def test_a_die_that_nothing_judges_neither_passes_nor_fails():
    """HBIN_PF and SBIN_PF are blank, the part has no verdict, and what is good of the wafer is not counted."""
    one = Try(1, State.DONE, T, T + 10, 10.0, bin="measured", hard=99, rule="no acceptance limits were set")
    at = {"A": (3, 0), "B": (4, 0)}
    run = RunState(
        {**META, "bins": []}, {n: DieState(n, xy, (one,), State.DONE) for n, xy in at.items()}, (), T, T + 20
    )
    data = b"".join(stdf(run))
    part = record(
        "PRR", PART_FLG=16, NUM_TEST=1, HARD_BIN=99, SOFT_BIN=99, X_COORD=4, Y_COORD=0, TEST_T=10000, PART_ID="B",
        PART_TXT="no acceptance limits were set",
    )  # fmt: skip
    assert part in data
    bins = {"HBIN_NUM": 99, "HBIN_CNT": 2, "HBIN_PF": " ", "HBIN_NAM": "measured"}
    assert record("HBR", HEAD_NUM=255, SITE_NUM=255, **bins) in data
    counts = {"PART_CNT": 2, "RTST_CNT": 0, "ABRT_CNT": 0}
    assert record("WRR", FINISH_T=int(T + 10), WAFER_ID="W1", **counts) in data


# -- another program


def parsed(data):
    """Return (record, fields by name) as pystdf reads them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its sources have escapes that Python warns of
        pystdf = pytest.importorskip("pystdf.IO", reason="pystdf is not installed (extra 'judges')")
    found = []

    class Sink:
        def before_send(self, source, data):
            kind, fields = data
            found.append((kind.__class__.__name__.upper(), dict(zip(kind.columnNames, fields, strict=True))))

        def before_cancel(self, source, exception):
            raise AssertionError(f"pystdf gave up: {exception}")

    parser = pystdf.Parser(inp=io.BytesIO(data))
    parser.addSink(Sink())
    parser.parse()
    return found


def ptr(number, text, result, *, flag=64, parm=0, opt=0xCE, scale=0, low=None, high=None, units="", form="%9.4g"):
    return "PTR", {
        "TEST_NUM": number, "HEAD_NUM": 1, "SITE_NUM": 1, "TEST_FLG": flag, "PARM_FLG": parm,
        "RESULT": pytest.approx(result), "TEST_TXT": text, "ALARM_ID": "", "OPT_FLAG": opt, "RES_SCAL": scale,
        "LLM_SCAL": scale if low else 0, "HLM_SCAL": scale if high else 0, "LO_LIMIT": pytest.approx(low or 0.0),
        "HI_LIMIT": pytest.approx(high or 0.0), "UNITS": units, "C_RESFMT": form, "C_LLMFMT": form if low else "",
        "C_HLMFMT": form if high else "", "LO_SPEC": 0.0, "HI_SPEC": 0.0,
    }  # fmt: skip


def prr(name, x, y, *, flag, tests, hard, soft, time, text):
    return "PRR", {
        "HEAD_NUM": 1, "SITE_NUM": 1, "PART_FLG": flag, "NUM_TEST": tests, "HARD_BIN": hard, "SOFT_BIN": soft,
        "X_COORD": x, "Y_COORD": y, "TEST_T": time, "PART_ID": name, "PART_TXT": text, "PART_FIX": [],
    }  # fmt: skip


def summary(kind, number, count, verdict, name):
    return f"{kind}BR", {
        "HEAD_NUM": 255, "SITE_NUM": 255, f"{kind}BIN_NUM": number, f"{kind}BIN_CNT": count, f"{kind}BIN_PF": verdict,
        f"{kind}BIN_NAM": name,
    }  # fmt: skip


def tsr(number, name, values, *, failed=4294967295):
    finite = [pytest.approx(f(values)) for f in (min, max, sum)] if values else [0.0] * 3
    return "TSR", {
        "HEAD_NUM": 255, "SITE_NUM": 255, "TEST_TYP": "P", "TEST_NUM": number, "EXEC_CNT": len(values) or 1,
        "FAIL_CNT": failed, "ALRM_CNT": 4294967295, "TEST_NAM": name, "SEQ_NAME": "", "TEST_LBL": "",
        "OPT_FLAG": 0xCC if values else 0xFF, "TEST_TIM": 0.0, "TEST_MIN": finite[0], "TEST_MAX": finite[1],
        "TST_SUMS": finite[2], "TST_SQRS": pytest.approx(sum(v * v for v in values)),
    }  # fmt: skip


PIR = ("PIR", {"HEAD_NUM": 1, "SITE_NUM": 1})
MIR_TEXTS = [
    "SBLOT_ID",
    "OPER_NAM",
    "TEST_COD",
    "TST_TEMP",
    "PKG_TYP",
    "FAMLY_ID",
    "DATE_COD",
    "FACIL_ID",
    "FLOOR_ID",
    "PROC_ID",
    "OPER_FRQ",
    "SPEC_NAM",
    "SPEC_VER",
    "FLOW_ID",
    "DSGN_REV",
    "ENG_ID",
    "ROM_COD",
    "SUPR_NAM",
]
COUNTS = {"PART_CNT": 3, "RTST_CNT": 1, "ABRT_CNT": 2, "GOOD_CNT": 1, "FUNC_CNT": 4294967295}
EXPECTED = [
    ("FAR", {"CPU_TYPE": 2, "STDF_VER": 4}),
    ("MIR", {
        "SETUP_T": 1_789_999_990, "START_T": 1_790_000_000, "STAT_NUM": 1, "MODE_COD": "E", "RTST_COD": "Y",
        "PROT_COD": " ", "BURN_TIM": 65535, "CMOD_COD": " ", "LOT_ID": "W1", "PART_TYP": "overnight",
        "NODE_NAM": "bench-pc", "TSTR_TYP": "mtj-labctl", "JOB_NAM": "overnight", "JOB_REV": "0123456789abcdef",
        "EXEC_TYP": "mtj-labctl", "EXEC_VER": "0.1.0", "USER_TXT": "three dies, ?mlaut", "AUX_FILE": "overnight.yaml",
        "SETUP_ID": "bench 'probe station'", "SERL_NUM": "abc123", **dict.fromkeys(MIR_TEXTS, ""),
    }),
    ("WCR", {
        "WAFR_SIZ": 0.0, "DIE_HT": 0.0, "DIE_WID": 0.0, "WF_UNITS": 0, "WF_FLAT": " ", "CENTER_X": -32768,
        "CENTER_Y": -32768, "POS_X": "R", "POS_Y": "D",
    }),
    ("WIR", {"HEAD_NUM": 1, "SITE_GRP": 255, "START_T": 1_790_000_000, "WAFER_ID": "W1"}),
    PIR,
    ptr(100, "fidelity", 0.98, flag=0, parm=64, opt=0x8E, scale=2, low=0.98, form="%9.2f"),
    ptr(300, "r_p", 2400.0, scale=-3, units="ohm", form="%9.2f"),
    ptr(302, "tmr", 1.2, scale=2, form="%9.1f"),
    ptr(600, "seconds", 61.5, units="s"),
    prr("W1-x3y0", 3, 0, flag=0, tests=4, hard=1, soft=1, time=61500, text="within all limits"),
    PIR,
    ptr(600, "seconds", 3.0, units="s"),
    prr("W1-x4y0", 4, 0, flag=4 | 8, tests=1, hard=7, soft=7, time=3000, text=(
        "error; the worker died; suspect: the golden die drifted"
    )),
    PIR,
    ptr(100, "fidelity", 0.97, flag=128, parm=64 | 16, opt=0x8E, scale=2, low=0.98, form="%9.2f"),
    ptr(401, "v_switch_p", 0.5, flag=128, parm=0, opt=0x4E, scale=3, high=0.5, units="V", form="%9.1f"),
    ptr(500, "contact", 0.0, flag=2 | 64, units="ohm", form="%9.1f"),
    ptr(600, "seconds", 60.0, units="s"),
    ptr(number_of(Figure("strange", "", "")), "strange", 7.0),
    prr("W1-x4y0", 4, 0, flag=1 | 8, tests=5, hard=2, soft=2, time=60000, text=(
        "fidelity < 98 %: it is 0.97; suspect: the golden die drifted"
    )),
    PIR,
    ptr(600, "seconds", 2.0, units="s"),
    prr("W1-x9y9", -32768, 9, flag=4 | 8 | 16, tests=1, hard=0, soft=0, time=2000, text=(
        "interrupted; the run was broken off"
    )),
    ("WRR", {
        "HEAD_NUM": 1, "SITE_GRP": 255, "FINISH_T": 1_790_000_152, **COUNTS, "WAFER_ID": "W1", "FABWF_ID": "",
        "FRAME_ID": "", "MASK_ID": "", "USR_DESC": "", "EXC_DESC": "",
    }),
    tsr(100, "fidelity", [0.98, 0.97], failed=1),
    tsr(300, "r_p", [2400.0]),
    tsr(302, "tmr", [1.2]),
    tsr(401, "v_switch_p", [0.5], failed=1),
    tsr(500, "contact", []),
    tsr(600, "seconds", [61.5, 3.0, 60.0, 2.0]),
    tsr(number_of(Figure("strange", "", "")), "strange", [7.0]),
    summary("H", 0, 1, " ", "no bin"),
    summary("H", 1, 1, "P", "good"),
    summary("H", 2, 1, "F", "low-fidelity"),
    summary("S", 0, 1, " ", "no bin"),
    summary("S", 1, 1, "P", "good"),
    summary("S", 2, 1, "F", "low-fidelity"),
    ("PCR", {"HEAD_NUM": 255, "SITE_NUM": 255, **COUNTS}),
    ("MRR", {
        "FINISH_T": 1_790_000_200, "DISP_COD": " ", "USR_DESC": "three dies, ?mlaut",
        "EXC_DESC": "abort: stopped by the operator",
    }),
]  # fmt: skip


@pytest.mark.judge
def test_pystdf_reads_every_field_of_every_record():
    found = parsed(b"".join(stdf(run_state())))
    assert [name for name, _ in found] == [name for name, _ in EXPECTED]
    for (name, fields), (_, expected) in zip(found, EXPECTED, strict=True):
        assert fields == expected, name


@pytest.mark.judge
def test_times_are_local_and_the_operator_is_named():
    state = run_state()
    there = replace(
        state, meta={**META, "utc_offset": 32400, "time_zone": "JST", "operator": "ana", "temperature": 358.15}
    )
    records = dict(parsed(b"".join(stdf(there))))
    mir = records["MIR"]
    assert (mir["SETUP_T"], mir["START_T"], mir["OPER_NAM"]) == (1_790_032_390, 1_790_032_400, "ana")
    assert mir["TST_TEMP"] == "85.0 C"
    assert (records["WIR"]["START_T"], records["WRR"]["FINISH_T"]) == (1_790_032_400, 1_790_032_552)
    assert records["MRR"]["FINISH_T"] == 1_790_032_600


@pytest.mark.judge
def test_our_fields_are_those_of_pystdf():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        v4 = pytest.importorskip("pystdf.V4", reason="pystdf is not installed (extra 'judges')")
    theirs = {kind.__class__.__name__.upper(): (kind.typ, kind.sub, kind.fieldMap) for kind in v4.records}
    for name, (kind, subtype, fields) in RECORDS.items():
        assert (kind, subtype, tuple((f[0], f[1]) for f in fields)) == theirs[name]
