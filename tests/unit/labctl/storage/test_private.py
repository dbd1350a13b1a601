"""A folder is its owner's alone, and what is written into it has its rights, whatever the umask."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from labctl.core.errors import StorageError
from labctl.storage.private import make_private, rights_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="this system has no umask")


@pytest.fixture(params=[0o000, 0o022, 0o077], autouse=True)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def rights(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_is_made_for_its_owner_and_those_above_it_as_ever(tmp_path: Path, umask: int) -> None:
    make_private(tmp_path / "runs" / "night")
    assert rights(tmp_path / "runs" / "night") == 0o700
    assert rights(tmp_path / "runs") == 0o777 & ~umask


def test_an_empty_folder_that_is_there_is_made_private(tmp_path: Path) -> None:
    (tmp_path / "night").mkdir(mode=0o755)
    make_private(tmp_path / "night")
    assert rights(tmp_path / "night") == 0o700


@pytest.mark.parametrize(("folder", "file"), [(0o700, 0o600), (0o750, 0o640), (0o770, 0o660)])
def test_what_is_made_has_the_rights_of_the_folder(tmp_path: Path, umask: int, folder: int, file: int) -> None:
    tmp_path.chmod(folder)
    with rights_of(tmp_path):
        (tmp_path / "own").touch()
        (tmp_path / "deeper").mkdir()
        subprocess.run([sys.executable, "-S", "-c", "open('other', 'x')"], cwd=tmp_path, check=True)
    (tmp_path / "after").touch()
    assert (rights(tmp_path / "own"), rights(tmp_path / "deeper"), rights(tmp_path / "other")) == (file, folder, file)
    assert rights(tmp_path / "after") == 0o666 & ~umask


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="gone"), rights_of(tmp_path / "gone"):
        pass
