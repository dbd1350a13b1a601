"""Records of STDF V4 as bytes: fields in order, their types, and what stands for one that is missing.

Source: Teradyne, Standard Test Data Format (STDF) Specification Version 4. CPU type 2: little-endian, IEEE floats.
"""

import math
import struct
from collections.abc import Callable, Mapping
from typing import Any

from labctl.core.texts import visible

MISSING_U2, MISSING_U4, MISSING_I2 = 65535, 4294967295, -32768
_LONGEST = 65535
"""Bytes of a record behind its header."""


def _text(value: str) -> bytes:
    """Return a C*n: length byte and at most 255 ASCII characters; others become question marks."""
    encoded = visible(value).replace("\n", " ").encode("ascii", "replace")[:255]
    return bytes([len(encoded)]) + encoded


def _letter(value: str) -> bytes:
    if len(value) != 1 or not value.isascii():
        raise ValueError(f"'{value}' is not one ASCII character")
    return value.encode("ascii")


def _packed(layout: str) -> Callable[[Any], bytes]:
    return struct.Struct("<" + layout).pack


def _single(value: float) -> bytes:
    """Return an R4: what is beyond its range is infinite."""
    try:
        return struct.pack("<f", value)
    except OverflowError:
        return struct.pack("<f", math.copysign(math.inf, value))


def _bytes(value: bytes) -> bytes:
    """Return a B*n: length byte and at most 255 bytes."""
    if len(value) > 255:
        raise ValueError(f"{len(value)} bytes for a B*n, which holds 255")
    return bytes([len(value)]) + value


ENCODERS: Mapping[str, Callable[[Any], bytes]] = {
    "U1": _packed("B"),
    "U2": _packed("H"),
    "U4": _packed("I"),
    "I1": _packed("b"),
    "I2": _packed("h"),
    "R4": _single,
    "B1": _packed("B"),
    "C1": _letter,
    "Cn": _text,
    "Bn": _bytes,
}

Field = tuple[str, str] | tuple[str, str, Any]
"""Name and type, and what stands for a missing value; a field without that is always there."""


def _texts(*names: str) -> tuple[Field, ...]:
    return tuple((name, "Cn", "") for name in names)


_SITE: tuple[Field, ...] = (("HEAD_NUM", "U1", 1), ("SITE_NUM", "U1", 1))
_COUNTS: tuple[Field, ...] = (
    ("PART_CNT", "U4"),
    *((name, "U4", MISSING_U4) for name in ("RTST_CNT", "ABRT_CNT", "GOOD_CNT", "FUNC_CNT")),
)

RECORDS: Mapping[str, tuple[int, int, tuple[Field, ...]]] = {
    "FAR": (0, 10, (("CPU_TYPE", "U1", 2), ("STDF_VER", "U1", 4))),
    "MIR": (
        1,
        10,
        (
            ("SETUP_T", "U4"),
            ("START_T", "U4"),
            ("STAT_NUM", "U1", 1),
            ("MODE_COD", "C1", " "),
            ("RTST_COD", "C1", " "),
            ("PROT_COD", "C1", " "),
            ("BURN_TIM", "U2", MISSING_U2),
            ("CMOD_COD", "C1", " "),
            ("LOT_ID", "Cn"),
            ("PART_TYP", "Cn"),
            ("NODE_NAM", "Cn"),
            ("TSTR_TYP", "Cn"),
            ("JOB_NAM", "Cn"),
            *_texts("JOB_REV", "SBLOT_ID", "OPER_NAM", "EXEC_TYP", "EXEC_VER", "TEST_COD", "TST_TEMP", "USER_TXT"),
            *_texts("AUX_FILE", "PKG_TYP", "FAMLY_ID", "DATE_COD", "FACIL_ID", "FLOOR_ID", "PROC_ID", "OPER_FRQ"),
            *_texts("SPEC_NAM", "SPEC_VER", "FLOW_ID", "SETUP_ID", "DSGN_REV", "ENG_ID", "ROM_COD", "SERL_NUM"),
            *_texts("SUPR_NAM"),
        ),
    ),
    "MRR": (1, 20, (("FINISH_T", "U4"), ("DISP_COD", "C1", " "), *_texts("USR_DESC", "EXC_DESC"))),
    "PCR": (1, 30, (*_SITE, *_COUNTS)),
    "HBR": (1, 40, (*_SITE, ("HBIN_NUM", "U2"), ("HBIN_CNT", "U4"), ("HBIN_PF", "C1", " "), *_texts("HBIN_NAM"))),
    "SBR": (1, 50, (*_SITE, ("SBIN_NUM", "U2"), ("SBIN_CNT", "U4"), ("SBIN_PF", "C1", " "), *_texts("SBIN_NAM"))),
    "TSR": (
        10,
        30,
        (
            *_SITE,
            ("TEST_TYP", "C1", " "),
            ("TEST_NUM", "U4"),
            *((name, "U4", MISSING_U4) for name in ("EXEC_CNT", "FAIL_CNT", "ALRM_CNT")),
            *_texts("TEST_NAM", "SEQ_NAME", "TEST_LBL"),
            ("OPT_FLAG", "B1", 0xFF),
            *((name, "R4", 0.0) for name in ("TEST_TIM", "TEST_MIN", "TEST_MAX", "TST_SUMS", "TST_SQRS")),
        ),
    ),
    "WIR": (2, 10, (("HEAD_NUM", "U1", 1), ("SITE_GRP", "U1", 255), ("START_T", "U4"), *_texts("WAFER_ID"))),
    "WRR": (
        2,
        20,
        (
            ("HEAD_NUM", "U1", 1),
            ("SITE_GRP", "U1", 255),
            ("FINISH_T", "U4"),
            *_COUNTS,
            *_texts("WAFER_ID", "FABWF_ID", "FRAME_ID", "MASK_ID", "USR_DESC", "EXC_DESC"),
        ),
    ),
    "WCR": (
        2,
        30,
        (
            ("WAFR_SIZ", "R4", 0.0),
            ("DIE_HT", "R4", 0.0),
            ("DIE_WID", "R4", 0.0),
            ("WF_UNITS", "U1", 0),
            ("WF_FLAT", "C1", " "),
            ("CENTER_X", "I2", MISSING_I2),
            ("CENTER_Y", "I2", MISSING_I2),
            ("POS_X", "C1", " "),
            ("POS_Y", "C1", " "),
        ),
    ),
    "PIR": (5, 10, _SITE),
    "PRR": (
        5,
        20,
        (
            *_SITE,
            ("PART_FLG", "B1"),
            ("NUM_TEST", "U2"),
            ("HARD_BIN", "U2"),
            ("SOFT_BIN", "U2", MISSING_U2),
            ("X_COORD", "I2", MISSING_I2),
            ("Y_COORD", "I2", MISSING_I2),
            ("TEST_T", "U4", 0),
            *_texts("PART_ID", "PART_TXT"),
            ("PART_FIX", "Bn", b""),
        ),
    ),
    "PTR": (
        15,
        10,
        (
            ("TEST_NUM", "U4"),
            *_SITE,
            ("TEST_FLG", "B1"),
            ("PARM_FLG", "B1"),
            ("RESULT", "R4"),
            *_texts("TEST_TXT", "ALARM_ID"),
            ("OPT_FLAG", "B1"),
            ("RES_SCAL", "I1", 0),
            ("LLM_SCAL", "I1", 0),
            ("HLM_SCAL", "I1", 0),
            ("LO_LIMIT", "R4", 0.0),
            ("HI_LIMIT", "R4", 0.0),
            *_texts("UNITS", "C_RESFMT", "C_LLMFMT", "C_HLMFMT"),
            ("LO_SPEC", "R4", 0.0),
            ("HI_SPEC", "R4", 0.0),
        ),
    ),
}
"""Record type, subtype and fields of each record that is written, all of them always in full."""


def record(name: str, **values: Any) -> bytes:
    """Return one record: header, and every field in order.

    Raises:
        KeyError: a field that is always there was not given.
        ValueError: there is no such field, or its value does not fit its type.

    >>> record("FAR").hex()
    '0200000a0204'
    >>> record("PIR", SITE_NUM=3).hex()
    '0200050a0103'
    """
    kind, subtype, fields = RECORDS[name]
    body = bytearray()
    for field, encoding, *missing in fields:
        value = values.pop(field, missing[0]) if missing else values.pop(field)
        try:
            body += ENCODERS[encoding](value)
        except struct.error as error:
            raise ValueError(f"{name}.{field}: {value!r} is no {encoding}: {error}") from error
    if values:
        raise ValueError(f"{name} has no field {next(iter(values))}")
    if len(body) > _LONGEST:
        raise ValueError(f"{name} has {len(body)} bytes; a record holds {_LONGEST}")
    return struct.pack("<HBB", len(body), kind, subtype) + bytes(body)
