"""npz files with slips in them: other arrays, headers and zip directories that lie, and files made to be too much."""

import io
import random
import re
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
from faults.odd import BYTES, OTHER_FILES, TEXTS
from faults.yaml_mutations import bytes_of

DTYPES = (
    *(
        "?",
        "i1",
        "u1",
        "i4",
        ">i8",
        "u8",
        "f2",
        "f4",
        ">f8",
        "g",
        "F",
        "D",
        "G",
        "S3",
        "U4",
        ">U2",
        "V8",
        "M8[s]",
        "m8[ns]",
    ),
    "O",
)
DESCRIPTIONS = (
    *(
        "'<f8'",
        "'O'",
        "'|O8'",
        "'<f80'",
        "'f8,f8'",
        "[('a', '<f8'), ('a', '<f8')]",
        "[('a', 'O')]",
        "'V0'",
        "'S0'",
        "'U0'",
    ),
    *(
        "''",
        "1",
        "None",
        "'<f8' * 99",
        "('<f8', (9, 9))",
        "'<M8[furlong]'",
        "'>c32'",
        "{'names': ['a'], 'formats': ['O']}",
    ),
    *("__import__('os').system('true')", "'<U1000000000'", "'<V2147483647'", "('|V1', (2147483647, 2147483647))"),
)
SHAPES = (
    *(
        "()",
        "(0,)",
        "(-1,)",
        "(1,)",
        "(2, 3)",
        "3",
        "[3]",
        "('3',)",
        "(3.0,)",
        "(True,)",
        "(None,)",
        "(10**9, 10**9)",
        "(1,)*64",
    ),
    *(
        "(9223372036854775807,)",
        "(9223372036854775808, 2)",
        "(4611686018427387904, 4)",
        "(-1, -1)",
        "(0, 9223372036854775807)",
    ),
    *("(340282366920938463463374607431768211456,)", "(2**62, 2**62, 0)", "(1e5,)", "(0x10,)", "(3L,)"),
    "(" + "1, " * 70 + ")",
)
SPECIAL = (
    np.nan,
    np.inf,
    -np.inf,
    0.5,
    -1.0,
    1.0000000000000002,
    1e308,
    -1e308,
    1e-320,
    2.0**63,
    2.0**64,
    255.0,
    -129.0,
)


class Archive(zipfile.ZipFile):
    """An archive whose members were all written at the same time: a mutated file is a function of its number alone."""

    def writestr(self, name: str, data: bytes) -> None:
        """Write a member, as `zipfile.ZipFile.writestr` does, but for its date."""
        info = zipfile.ZipInfo(name)
        info.compress_type, info.external_attr = self.compression, 0o600 << 16
        super().writestr(info, data)


def packed(arrays: dict[str, Any], rng: random.Random) -> bytes:
    """Return arrays as numpy writes them, packed or not."""
    file = io.BytesIO()
    with Archive(file, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for key, array in arrays.items():
            archive.writestr(f"{key}.npy", npy(np.asarray(array), rng))
    return file.getvalue()


def npy(array: Any, rng: random.Random) -> bytes:
    """Return one array as a file, in one of the three versions of the format."""
    file = io.BytesIO()
    version = rng.choice([None, None, (1, 0), (2, 0), (3, 0)])
    try:
        np.lib.format.write_array(file, array, version)
    except (ValueError, UnicodeError):
        file = io.BytesIO()
        np.lib.format.write_array(file, array)
    return file.getvalue()


def arrays_of(rng: random.Random, arrays: dict[str, Any]) -> dict[str, Any]:
    """Return the arrays with some dropped, renamed, of another type or shape, or with odd values."""
    arrays = {key: np.array(value) for key, value in arrays.items()}
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if not arrays:
            break
        key = rng.choice(list(arrays))
        array = arrays[key]
        changes: tuple[Callable[[], Any], ...] = (
            lambda array=array: array.T,
            lambda array=array: array.ravel(),
            lambda array=array: array[..., None],
            lambda array=array: array[:0],
            lambda array=array: array[..., :-1],
            lambda array=array: array[:1],
            lambda array=array: np.concatenate([array, array]) if array.ndim else array,
            lambda array=array: array.astype(rng.choice(DTYPES)),
            lambda array=array: array.astype(rng.choice(DTYPES)),
            lambda: np.array(rng.choice([*SPECIAL, *TEXTS])),
            lambda: np.array(
                rng.choice([2**64 - 1, 2**63, -(2**63), 10**30, True, None, {}, b"\xff", "", "{}", '{"preprocess": 1}'])
            ),
            lambda array=array: np.asfortranarray(array),
            lambda array=array: np.zeros(array.shape, [("a", "f8"), ("b", "i4")]),
            lambda array=array: array.astype(str),
            lambda array=array: np.full(array.shape, rng.choice(SPECIAL), rng.choice(["f8", "f4", "g"])),
            lambda array=array: np.full(array.shape, rng.choice([2**64 - 1, 2**63]), "u8"),
            lambda array=array: np.full(array.shape, rng.choice(TEXTS)),
            lambda array=array: array * rng.choice([-1, 0, 1000]) if array.dtype.kind in "iuf" else array,
        )
        what = rng.randrange(len(changes) + 4)
        with np.errstate(all="ignore"):
            if what < len(changes):
                try:
                    arrays[key] = changes[what]()
                except (ValueError, TypeError, OverflowError, IndexError):
                    arrays[key] = np.array(0)
            elif what == len(changes):
                del arrays[key]
            elif what == len(changes) + 1:
                arrays[
                    rng.choice(
                        [
                            "x",
                            key.upper(),
                            f"fc9_{key}",
                            "fc99999999999999999999_bias",
                            "fc0_bias",
                            "votes",
                            "scale",
                            "die",
                        ]
                    )
                ] = array
            elif array.size and array.ndim and array.dtype.kind in "iufb":
                odd = array.astype(np.float64)
                odd[tuple(rng.randrange(n) for n in odd.shape)] = rng.choice(SPECIAL)
                arrays[key] = odd
    return arrays


def lying_header(rng: random.Random, content: bytes) -> bytes:
    """Return the file with another type or shape in the header of one of its arrays; zip sums are right."""

    def change(raw: bytes) -> bytes:
        header = raw[10 : 10 + int.from_bytes(raw[8:10], "little")]
        if rng.random() < 0.5:
            new = re.sub(rb"'shape': \(.*?\)", b"'shape': " + rng.choice(SHAPES).encode(), header)
        else:
            new = re.sub(rb"'descr': '[^']*'", b"'descr': " + rng.choice(DESCRIPTIONS).encode(), header)
        if rng.random() < 0.1:
            new = rng.choice(
                [
                    b"",
                    b"{}",
                    b"[]",
                    b"{'descr': 1}",
                    b"(" * 9000,
                    b"\xff" * 90,
                    b"1" * 60_000,
                    new[:-9],
                    new + b"\0" * 9,
                ]
            )
        return raw[:8] + struct.pack("<H", min(len(new), 65535)) + new[:65535] + raw[10 + len(header) :]

    return rewritten(rng, content, change)


def rewritten(rng: random.Random, content: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Return the archive with one member changed."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before, Archive(file, "w", zipfile.ZIP_DEFLATED) as after:
        names = before.namelist()
        chosen = rng.choice(names)
        for name in names:
            raw = before.read(name)
            after.writestr(name, change(raw) if name == chosen else raw)
    return file.getvalue()


def member(rng: random.Random, content: bytes) -> bytes:
    """Return the archive with one member whose bytes were mutated, zip sums right."""
    return rewritten(rng, content, lambda raw: bytes_of(rng, raw))


def directory(rng: random.Random, content: bytes) -> bytes:
    """Return the archive with a field of its directory, or of a member's own heading, changed."""
    data = bytearray(content)
    mark = rng.choice([b"PK\x01\x02", b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"])
    places = [match.start() for match in re.finditer(re.escape(mark), content)]
    at = rng.choice(places) + rng.randrange(4, 46)
    width = rng.choice([1, 2, 4])
    value = rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 99, rng.getrandbits(32)])
    data[at : at + width] = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
    return bytes(data)


def archive(rng: random.Random, content: bytes) -> bytes:
    """Return an archive that is odd as a whole: members twice, odd names, a bomb, another method."""
    with zipfile.ZipFile(io.BytesIO(content)) as before:
        members = {name: before.read(name) for name in before.namelist()}
    file = io.BytesIO()
    first = next(iter(members))
    what = rng.randrange(9)
    method = rng.choice([zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]) if what == 0 else zipfile.ZIP_DEFLATED
    with Archive(file, "w", method) as after:
        for name, raw in members.items():
            after.writestr(
                name if what != 1 else rng.choice([name.upper(), f"../{name}", f"a/{name}", name[:-4], f"{name}\0x"]),
                raw,
            )
        if what == 2:
            import warnings

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                after.writestr(first, members[rng.choice(list(members))])
        elif what == 3:
            size = rng.choice([1 << 20, 1 << 24, 1 << 27])
            head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({size},), }}\n".encode()
            raw = b"\x93NUMPY\x01\0" + struct.pack("<H", len(head)) + head + bytes(size)
            after.writestr(rng.choice(["bomb.npy", "index2.npy"]), raw)
        elif what == 4:
            after.writestr(
                f"{rng.choice(TEXTS)}.npy".replace("\0", "").encode("utf-8", "replace").decode(), members[first]
            )
        elif what == 5:
            after.writestr("inside.npz", content)
        elif what == 6:
            for k in range(3000):
                after.writestr(f"extra{k}.npy", b"")
        elif what == 7:
            after.comment = rng.randbytes(rng.choice([1, 65535]))
    return (rng.choice(BYTES) * 9 if what == 8 else b"") + file.getvalue()


def big(rng: random.Random, key: str) -> bytes:
    """Return a bomb under a key that is read: a small file of a large array."""
    file, size = io.BytesIO(), rng.choice([1 << 24, 1 << 27, 1 << 28])
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({size // 8}, 4, 2), }}\n".encode()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as after, after.open(f"{key}.npy", "w") as inside:
        inside.write(b"\x93NUMPY\x01\0" + struct.pack("<H", len(head)) + head)
        for _ in range(size >> 20):
            inside.write(bytes(1 << 20))
    return file.getvalue()


def mutated(rng: random.Random, arrays: dict[str, Any]) -> tuple[str, bytes]:
    """Return what was done to an npz file, and the file."""
    chance = rng.random()
    if chance < 0.45:
        return "arrays", packed(arrays_of(rng, arrays), rng)
    content = packed(arrays, rng)
    if chance < 0.60:
        return "header", lying_header(rng, content)
    if chance < 0.70:
        return "member", member(rng, content)
    if chance < 0.80:
        return "directory", directory(rng, content)
    if chance < 0.88:
        return "archive", archive(rng, content)
    if chance < 0.98:
        return "bytes", bytes_of(rng, content)
    if chance < 0.995:
        return "other file", rng.choice(OTHER_FILES)
    return "too much", big(rng, rng.choice(list(arrays)))
