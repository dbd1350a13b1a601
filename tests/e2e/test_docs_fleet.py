"""What docs/fleet.md says can be typed, on two surveyed wafers; its table of columns is that of the code."""

import json
import re
import shlex

import pytest

from labctl.fleet.columns import COLUMNS
from tests.e2e.conftest import EXAMPLES, ROOT

pytest.importorskip("pyarrow", reason="needs the extra 'fleet'")
TEXT = (ROOT / "docs" / "fleet.md").read_text(encoding="utf-8")
LINES = re.findall(r"<!-- run -->\n```sh\n(.*?)```", TEXT, re.S)[0].splitlines()


@pytest.fixture(scope="module")
def desk(tmp_path_factory, labctl):
    """A folder with two runs."""
    folder = tmp_path_factory.mktemp("desk")
    for seed in (1, 2):
        run = folder / "runs" / f"s{seed}"
        few = ("--only", "W02-x1y0,W02-x2y0,W02-x1y1", "--set", "wafer.change={geometry: {n_rows: 4, n_cols: 3}}")
        labctl("run", EXAMPLES / "survey-wafer.yaml", "--out", run, "--seed", seed, *few)
    return folder


def test_the_commands_of_the_page(desk, labctl, monkeypatch):
    monkeypatch.chdir(desk)
    printed = {}
    for line in LINES:
        _, *words = shlex.split(line, comments=True)
        printed[line.partition("#")[0].strip()] = " ".join(labctl(*words).stdout.split())
    texts = list(printed.values())
    assert texts[0] == "fleet.parquet: 2 runs entered, 6 rows; it has 6 rows now"
    assert "6 rows: 6 dies of 2 runs (6 measured)" in texts[1]
    assert texts[3].endswith("0 rows: 0 dies of 0 runs")
    assert "TMR, %: mean by place of 6 rows" in texts[4]
    assert texts[5] == "drawn: r_p.png, 6 points"
    assert {path.name for path in desk.iterdir()} >= {"tmr.png", "r_p.png", "done.csv", "done.parquet"}
    code = re.findall(r"```python\n(.*?)```", TEXT, re.S)[0]
    pytest.importorskip("pandas")
    exec(compile(code, "docs/fleet.md", "exec"), {})
    rows = json.loads(labctl("fleet", "query", "state = done", "--json").stdout)["rows"]
    assert {row["wafer"] for row in rows} == {"W02"}


def test_what_cannot_be_read_is_left_out_by_name(desk, labctl, tmp_path):
    (tmp_path / "nothing").mkdir()
    words = ("fleet", "add", desk / "runs", tmp_path / "nothing", "--fleet", tmp_path / "f.parquet", "--json")
    done = labctl(*words, expect=5)
    assert "1 run left out" in done.stderr
    told = json.loads(done.stdout.splitlines()[0])
    assert (told["runs"], told["rows"], len(told["refused"])) == (2, 6, 1)
    alone = ("fleet", "add", tmp_path / "nothing", tmp_path / "nowhere", "--fleet", tmp_path / "g.parquet")
    assert "2 runs left out" in labctl(*alone, expect=2).stderr, "a slip of the command, as everywhere"


def test_the_columns_of_the_page_are_those_of_the_code():
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", TEXT, re.M)
    assert {name: (kind, meaning) for name, kind, meaning in rows} == dict(COLUMNS)
