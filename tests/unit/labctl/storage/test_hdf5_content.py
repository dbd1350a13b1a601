"""What is written into an HDF5 file is compared with what it was to be: values, attributes, scales, names."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from labctl.core.errors import StorageError
from labctl.storage.hdf5_content import check, write
from labctl.storage.hdf5_items import Group, Item, Link, StoredArray, dataset

LONG = np.arange(9000.0).reshape(3000, 3)


def items() -> list[Item]:
    """Every kind of item: in groups that no item names, beyond ASCII, in several parts, without anything in it."""
    axis = dataset("/entry/axis", np.arange(3000))
    parts = (LONG[:7], LONG[7:7], LONG[7:])
    return [
        Group("/", {"default": "entry"}),
        Group("/entry", {"names": ["a", "µ"], "number": 3, "ratio": 0.5, "yes": True, "none": []}),
        axis,
        replace(
            dataset("/entry/deep/inside/long", LONG, "V", long_name="U, V"),
            parts=lambda: parts,
            scales=(axis.path,),
        ),
        replace(dataset("/entry/short", LONG[:4]), parts=lambda: (LONG[:3], LONG[3:4])),
        dataset("/entry/µ", np.array([["one", ""], ["two", "µ"]])),
        dataset("/entry/text", "one"),
        dataset("/entry/no text", np.zeros(0, "U1")),
        dataset("/entry/bytes", np.array([b"x", b"yz"])),
        dataset("/entry/bools", np.array([True, False])),
        dataset("/entry/texts", np.array(["µ" * 9, "", *["a"] * 3000])),
        StoredArray("/entry/nothing", (0,), np.dtype(np.uint8), "", lambda: []),
        Link("/entry/again", "/entry/short"),
        Link("/entry/once more", "/entry/short"),
        Link("/other", "/entry", "other.h5"),
    ]


def test_what_is_written_is_what_the_items_say(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write(path, items())
    check(path, items())
    with h5py.File(path) as file:
        entry = file["entry"]
        assert [type(entry.attrs[name]) for name in ("number", "ratio", "yes")] == [np.int64, np.float64, np.bool_]
        assert (list(entry.attrs["names"]), entry.attrs["none"].size) == (["a", "µ"], 0)
        np.testing.assert_array_equal(entry["deep/inside/long"], LONG)
        assert list(entry["deep/inside/long"].dims[0].values()) == [entry["axis"]]
        assert entry["deep/inside/long"].attrs["units"] == "V"
        np.testing.assert_array_equal(entry["short"], LONG[:4])
        assert entry["again"] == entry["once more"] == entry["short"]
        assert entry["again"].attrs["target"] == "/entry/short"
        assert entry["µ"].asstr()[:].tolist() == [["one", ""], ["two", "µ"]]
        assert entry["texts"].asstr()[:3].tolist() == ["µ" * 9, "", "a"]
        assert (entry["bools"].dtype, entry["bytes"].dtype, entry["nothing"].shape) == (np.bool_, "S2", (0,))


def cut(entry: Any) -> None:
    del entry["short"]
    entry["short"] = LONG[:3]


def replaced(entry: Any) -> None:
    values = entry["deep/inside/long"].astype(np.float32)[:]
    attributes = dict(entry["deep/inside/long"].attrs)
    del entry["deep/inside/long"]
    entry["deep/inside/long"] = values
    entry["deep/inside/long"].attrs.update({k: v for k, v in attributes.items() if k in ("units", "long_name")})
    entry["deep/inside/long"].dims[0].attach_scale(entry["axis"])


DAMAGE: dict[str, tuple[str, Callable[[Any], object]]] = {
    "a unit": ("long", lambda entry: entry["deep/inside/long"].attrs.modify("units", "A")),
    "a list": ("/entry is", lambda entry: entry.attrs.modify("names", ["a", "b"])),
    "type of an attribute": ("/entry is", lambda entry: entry.attrs.create("number", 3.0)),
    "no attribute": ("/entry is", lambda entry: entry.attrs.pop("yes")),
    "the last value of the second part": ("short", lambda entry: entry["short"].write_direct(LONG[1:5])),
    "a scale": ("long", lambda entry: entry["deep/inside/long"].dims[0].detach_scale(entry["axis"])),
    "a text": ("µ", lambda entry: entry["µ"].__setitem__((1, 1), "u")),
    "a shape": ("short", cut),
    "a type": ("long", replaced),
    "an empty group": ("/entry/stray", lambda entry: entry.create_group("stray")),
    "no link": ("again", lambda entry: entry.__delitem__("again")),
    "a group in place of a dataset": ("text", lambda entry: (entry.__delitem__("text"), entry.create_group("text"))),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_whatever_differs_is_noticed(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.h5"
    write(path, items())
    named, damage = DAMAGE[what]
    with h5py.File(path, "r+") as file:
        damage(file["entry"])
    with pytest.raises(StorageError, match=named):
        check(path, items())


def test_parts_that_do_not_fill_an_array_are_refused(tmp_path: Path) -> None:
    short = replace(dataset("/short", LONG), parts=lambda: [LONG[:7]])
    with pytest.raises(StorageError, match=r"/short has 7 rows in the journal, expected 3000"):
        write(tmp_path / "a.h5", [short])
