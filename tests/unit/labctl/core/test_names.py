"""Names that become files: what is refused where a path is made, whatever was read before."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from labctl.batch.requests import GoFile
from labctl.core.errors import BenchError
from labctl.core.limits import Limits
from labctl.core.names import inside
from labctl.execution.die_job import Job
from labctl.storage.hdf5_writer import seal


@dataclass(frozen=True)
class Named:
    """A subject of which only the name matters."""

    name: str


LIMITS = Limits(v_towards_p=1, v_towards_ap=1, width=1, compliance=1, v_count=1, pulses_per_cell=1)
OUTSIDE = ["", ".", "..", "../A", "/etc/A", "LOT42/07", "..\\A", "C:A", "A\0"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_path_leaves_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(BenchError, match="expected one that stays in") as error:
        inside(tmp_path, name)
    assert error.value.exit_code == 2
    assert inside(tmp_path, "W-x0y0@2~3.h5").parent == tmp_path


@pytest.mark.parametrize("name", OUTSIDE[3:])
def test_nothing_is_made_for_a_die_whose_files_would_lie_elsewhere(tmp_path: Path, name: str) -> None:
    run = tmp_path / "a" / "run"
    (run / "dies").mkdir(parents=True)
    with pytest.raises(BenchError, match="expected one that stays in"):
        Job(run, Named(name), LIMITS)  # type: ignore[arg-type]
    with pytest.raises(BenchError, match="expected one that stays in"):
        seal(run, name)
    with pytest.raises(BenchError, match="expected one that stays in"):
        GoFile(run).skip(name)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
