"""kill -9 of a real process in the middle of its work: no row that it acknowledged is missing."""

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from labctl.storage.journal import Journal
from tests.waiting import PATIENCE

WRITER = """
import sys
from pathlib import Path
import numpy as np
from labctl.storage.journal import Journal

with Journal.create(Path(sys.argv[1]), {"die": "A"}) as journal:
    k = 0
    while True:
        # every fifth result is an array file of its own
        result = np.full((9000 if k % 5 == 0 else 4, 3), k / 3)
        seq = journal.intend("write", "pulse", {"k": k, "row": np.full((4, 2), k / 7)})
        journal.commit()
        print(seq, flush=True)
        journal.result(seq, {"current": result})
        k += 1
"""


@pytest.mark.parametrize("seed", range(10))
def test_no_acknowledged_operation_is_lost(tmp_path: Path, seed: int) -> None:
    folder = tmp_path / "A"
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline()
    time.sleep(random.Random(seed).uniform(0.0, 0.4))
    child.kill()
    # the last line may have been cut off by the kill: only whole ones are acknowledged
    rest, _ = child.communicate(timeout=PATIENCE)
    acknowledged = [int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")]
    with Journal.open(folder) as journal:
        journal.verify()
        assert not journal.finished
        found = list(journal.operations())
        numbers = [op.seq for op in found]
        assert set(acknowledged) <= set(numbers)
        assert len(acknowledged) - 1 <= len(found) - 1
        for k, op in enumerate(found):
            assert op.intent["k"] == k
            np.testing.assert_array_equal(op.intent["row"], np.full((4, 2), k / 7))
            # the result of an operation is durable together with the next intent
            assert (op.end is None) == (op is found[-1])
            if op.end is not None:
                np.testing.assert_array_equal(op.result["current"], np.full((9000 if k % 5 == 0 else 4, 3), k / 3))
    with Journal.open(folder, readonly=False) as journal:
        assert journal.result(found[-1].seq, {"current": None}) == journal.last.seq + 1
        journal.finish()
    with Journal.open(folder) as journal:
        assert journal.finished
        assert [op.seq for op in journal.operations()] == numbers
