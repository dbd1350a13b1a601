"""The example of a board through its makers' library: the commands of its page, and a cell by hand."""

import re
import shlex

import pytest
import yaml

from tests.e2e.conftest import EXAMPLES, ROOT

BENCH = EXAMPLES / "bench-daffodil-library.yaml"
PAGE = (ROOT / "docs" / "daffodil-board.md").read_text(encoding="utf-8")
SHAPE = {"kernels": 3, "n_rows": 14, "n_cols": 13}


@pytest.fixture
def small(tmp_path):
    """Return the example and a die file, for chips of 3 kernels of 14 x 13 cells."""
    paths = []
    for path, key in ((BENCH, "body"), (EXAMPLES / "dies" / "chip-32x25x25.yaml", "geometry")):
        file = yaml.safe_load(path.read_text(encoding="utf-8"))
        paths.append(tmp_path / path.name)
        paths[-1].write_text(yaml.safe_dump({**file, key: {**file[key], **SHAPE}}))
    return paths


def test_the_commands_of_the_page_do_what_it_says(labctl):
    section = PAGE[PAGE.index("## Through the library") :]
    block = re.search(r"```text\n(.*?)```", section, flags=re.S)[1]
    check, plan, off = (shlex.split(line)[1:] for line in block.splitlines())
    text = " ".join(labctl(*check, cwd=ROOT).stdout.split())
    assert "a board of 32 kernels of 25 x 25; nothing is wired" in text
    assert "not taken: what its lines do is not known; taking it initialises it" in text
    assert "72,422" in labctl(*plan, cwd=ROOT).stdout
    assert "board: outputs verified off at 0 V" in labctl(*off, cwd=ROOT).stderr


def test_a_cell_is_read_and_pulsed_by_hand_on_the_fake(labctl, small, tmp_path):
    bench, die = small
    here = ("--bench", bench, "--sim", "bytes", "--die", die, "--cell", "1,13,12", "--v-gate", "3.29 V")
    assert "reads" in labctl("read", *here, "--out", tmp_path / "read").stdout
    words = ("--to", "P", "--voltage", "900 mV", "--out", tmp_path / "pulse")
    assert "reads P" in labctl("pulse", *here, *words).stdout
    labctl("read", *here[:2], "--sim", "tcp", *here[4:], "--out", tmp_path / "tcp", expect=2)


def test_without_the_library_the_class_is_refused_by_its_name(labctl, tmp_path):
    file = yaml.safe_load(BENCH.read_text(encoding="utf-8"))
    file["body"]["class"] = "daffodil_of_nobody.Board"
    path = tmp_path / "bench.yaml"
    path.write_text(yaml.safe_dump(file))
    done = labctl("check", path, expect=3)
    assert "'daffodil_of_nobody.Board' cannot be imported: ModuleNotFoundError" in done.stdout + done.stderr
