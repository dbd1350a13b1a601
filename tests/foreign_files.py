"""Files that are no files of this suite, as other programs write them, and what they are called."""

import gzip
import io
import json
import pickle
import sqlite3
import tempfile
import zipfile
from pathlib import Path

import h5py
import numpy as np


def _zip(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, "<a/>")
    return file.getvalue()


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.ones((2, 3)))
    return file.getvalue()


def _of_library(suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"file.{suffix}")
        if suffix == "h5":
            with h5py.File(path, "w") as file:
                file["x"] = np.ones(3)
        else:
            base = sqlite3.connect(path)
            base.execute("create table a (b)")
            base.commit()
            base.close()
        return path.read_bytes()


def files() -> dict[str, tuple[bytes, str]]:
    """Return bytes and name of each kind, by a label."""
    words = "name: W1\nmap: [.X., XXX]\n"
    return {
        "TOML": (b'[project]\nname = "x"\nversions = [1, 2]\n\n[tool.black]\nline-length = 100\n', "a TOML file"),
        "TOML without tables": (b'name = "c"\nseed = 1\n', "a TOML file"),
        "INI": (b"[DEFAULT]\nport = /dev/ttyUSB0\nbaud = 9600\n; remark\n[other]\nx: y\n", "an INI file"),
        "INI of numbers": (b"[bench]\nchannels = 2\n", "a TOML or INI file"),
        "settings": (b"A=1\nexport B=two words\nC=/x/y\n", "a file of settings (key = value)"),
        "Markdown": (b"# Wafer 7: notes\n\nWe measured it on Monday.\n\n- dies: all\n- by: Kim\n", "a Markdown text"),
        "Markdown with lines below": (b"Title\n=====\n\nText with `code` and [a link](x.html).\n", "a Markdown text"),
        "Markdown table": (b"| x | y |\n|---|---|\n| 1 | 2 |\n", "a Markdown text"),
        "notebook": (
            json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1).encode(),
            "a Jupyter notebook (ipynb)",
        ),
        "pickle": (pickle.dumps({"a": np.ones(3)}), "a Python pickle"),
        "pickle 0": (pickle.dumps({"a": [1, 2]}, protocol=0), "a Python pickle"),
        "UTF-16-LE": (words.encode("utf-16-le"), "a text in UTF-16"),
        "UTF-16-BE": (words.encode("utf-16-be"), "a text in UTF-16"),
        "UTF-16 with its mark": (words.encode("utf-16"), "a text in UTF-16"),
        "UTF-32": (words.encode("utf-32-be"), "a text in UTF-32"),
        "gzip": (gzip.compress(words.encode()), "a gzip archive"),
        "PDF": (b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\n%%EOF\n", "a PDF"),
        "PNG": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(20), "a picture (PNG)"),
        "SQLite": (_of_library("db"), "an SQLite data base"),
        "HDF5": (_of_library("h5"), "an HDF5 file"),
        "HDF5 behind a block": (bytes(512) + _of_library("h5"), "an HDF5 file"),
        "npz": (_npz(), "NumPy arrays (npz)"),
        "xlsx": (_zip("xl/workbook.xml"), "an Excel workbook (xlsx)"),
        "zip": (_zip("a.txt"), "a zip archive"),
        "JSON": (b'[{"lot": "L7"}]', "a JSON file"),
        "JSON lines": (b'{"a": 1}\n{"a": 2}\n', "a JSON file"),
        "XML": (b'<?xml version="1.0"?><root><a/></root>', "XML of root"),
        "HTML": (b"<!DOCTYPE html><html><body>x</body></html>", "an HTML page"),
        "Python": (b'"""Doc."""\nimport os\n\n\ndef f(x):\n    return x\n', "a Python program"),
        "blanks": (b"x y bin\n1 2 1\n2 2 1\n", "a table with blanks between its cells"),
        "bars": (b"x|y|bin\n1|2|1\n2|2|1\n", "a table with '|' between its cells"),
        "grid of blanks": (b". X .\nX X X\n. X .\n", "a table with blanks between its cells"),
        "log": (b"2026-11-29 10:00:01 INFO started\n2026-11-29 10:00:02 WARN odd\n", "a log"),
        "words": (b"Dear all,\n\nplease find the wafer map below and measure it today.\n\nBest\n", "a text in words"),
        "DXF": (b"  0\nSECTION\n  2\nHEADER\n  9\n$ACADVER\n  1\nAC1015\n  0\nENDSEC\n  0\nEOF\n", "a DXF drawing"),
        "EDIF": (b"(edif chip\n  (edifVersion 2 0 0)\n  (edifLevel 0))\n", "an EDIF netlist"),
        "LEF": (b"VERSION 5.8 ;\nMACRO cell\n  SIZE 1 BY 2 ;\nEND cell\n", "a layout as text (LEF or DEF)"),
        "SPICE": (b"* a divider\n.subckt half in out\nR1 in out 1k\nR2 out 0 1k\n.ends\n", "a SPICE netlist"),
        "KLARF": (b"FileVersion 1 2;\nFileTimestamp 01-02-03 10:00:00;\n", "a KLARF of defects"),
        "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n", "a pointer of Git LFS"),
        "bytes": (bytes(range(256)) * 4, "a binary file of an unknown kind"),
    }
