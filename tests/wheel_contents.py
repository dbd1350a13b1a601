"""Fail unless a wheel holds the four packages with their data, the examples and two pages, and nothing else."""

import sys
import zipfile
from pathlib import Path

PACKAGES = ("labctl", "instruments", "protocols", "sim_backend")
SHARE = "share/mtj-labctl"


def main(wheel: str) -> int:
    names = zipfile.ZipFile(wheel).namelist()
    data = {n.partition(f".data/data/{SHARE}/")[2] for n in names if f".data/data/{SHARE}/" in n}
    names = [n for n in names if f".data/data/{SHARE}/" not in n]
    strangers = [n for n in names if not n.startswith((*(f"{p}/" for p in PACKAGES), "mtj_labctl-"))]
    here = Path(__file__).parent.parent
    examples = {p.relative_to(here).as_posix() for p in (here / "examples").rglob("*") if p.suffix in (".yaml", ".npz")}
    examples |= {"docs/write-a-driver.md", "docs/write-a-protocol.md"}
    strangers += sorted(data - examples)
    expected = {
        str(p.relative_to(here)).replace("\\", "/")
        for package in PACKAGES
        for p in (here / package).rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    missing = sorted(expected - set(names)) + sorted(examples - data)
    for label, found in (("does not belong in the wheel", strangers), ("is missing from the wheel", missing)):
        for name in found:
            print(f"{name} {label}")
    print(f"{wheel}: {len(names)} files")
    return 1 if strangers or missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
