"""A run folder that cannot be is refused before anything is made."""

from pathlib import Path

import pytest

from labctl.core.errors import BenchError
from labctl.station.run_folder import LONGEST, refuse_existing
from labctl.storage.journal import Journal


def test_a_name_that_no_file_system_takes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"a{256}: a name of 256 bytes, expected 250 at most"):
        refuse_existing(tmp_path / ("a" * 256))


def test_the_longest_path_that_is_taken_holds_a_journal_and_the_next_is_refused(tmp_path: Path) -> None:
    rest = LONGEST - len(str(tmp_path)) - len("//dies/D1~99/journal.db")
    names = [rest // 2, rest - rest // 2 - 1]
    longest = Path(tmp_path, *("b" * length for length in names))
    refuse_existing(longest, ["D", "D1"])
    with Journal.create(longest / "dies" / "D1~99", {}) as journal:
        assert len(str(journal.path)) == LONGEST
        journal.finish()
    longer = longest.with_name(longest.name + "b")
    with pytest.raises(BenchError, match=f"too long a path: the journals in it would have {LONGEST + 1} bytes"):
        refuse_existing(longer, ["D", "D1"])
    assert not longer.exists()
