"""Run folders with a mistake in them: a file of another run, a damaged run.json, a folder that is closed."""

import errno
import os
import shutil

import pytest

from labctl.storage import no_run
from tests import small_run


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A folder with two finished runs."""
    folder = tmp_path_factory.mktemp("two")
    small_run.write_run(folder / "run", utc=1.5, monotonic=2.5)
    small_run.write_run(folder / "other", utc=11.5, monotonic=12.5)
    return folder


@pytest.fixture
def desk(two, tmp_path):
    """A copy of them."""
    shutil.copytree(two, tmp_path / "desk")
    return tmp_path / "desk"


@pytest.mark.parametrize("names", [("run.h5",), ("report.html",), ("run.h5", "report.json")])
def test_a_file_of_another_run_is_found_and_mended(desk, labctl, names):
    for name in names:
        shutil.copy(desk / "other" / name, desk / "run" / name)
    done = labctl("verify", "run", cwd=desk, expect=5)
    for name in names:
        assert f"{name}: is of another run than journal.db: it was copied here. The way back: it is made" in done.stderr
    assert f"mends {len(names)} of them" in done.stderr
    labctl("verify", "run", "--repair", cwd=desk)
    labctl("verify", "run", cwd=desk)


def test_a_run_file_that_is_named_is_the_one_that_is_judged(desk, labctl):
    labctl("show", "run/run.h5", cwd=desk)
    shutil.copy(desk / "other/run.h5", desk / "run/run.h5")
    done = labctl("show", "run/run.h5", cwd=desk, expect=5)
    assert "run/run.h5 is of another run than journal.db: it was copied here; 'labctl verify run --" in done.stderr
    (desk / "run/run.h5").write_bytes((desk / "run/run.h5").read_bytes()[:3000])
    assert "run/run.h5 has no seal" in labctl("show", "run/run.h5", cwd=desk, expect=5).stderr


@pytest.mark.parametrize("command", ["watch run --once", "watch run --json", "report run", "fleet add run"])
@pytest.mark.parametrize(
    ("damage", "says"), [("{", "run.json is damaged"), ("other", "not what the run was started with")]
)
def test_what_works_from_the_journal_alone_says_so(desk, labctl, command, damage, says):
    if command.startswith("fleet"):
        pytest.importorskip("pyarrow")
    other = (desk / "other/run.json").read_text().replace('"seed": 7', '"seed": 8')
    (desk / "run/run.json").write_text(damage if damage == "{" else other)
    done = labctl(*command.split(), cwd=desk, expect=5)
    assert says in done.stderr
    assert "what was shown or written is from the run's journal" in done.stderr
    assert done.stdout.strip()
    assert command[-6:] != "--json" or len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize("closed", ["run", "run/dies"])
@pytest.mark.parametrize(
    "command", ["show run", "watch run", "report run", "verify run", "export run --csv c", "resume run", "stop run"]
)
def test_a_folder_that_is_closed_is_named_and_no_bug(desk, labctl, monkeypatch, command, closed):
    real = os.scandir

    def refused(path="."):
        if os.fspath(path) == str(os.path.normpath(closed)):
            raise PermissionError(errno.EACCES, "Permission denied", closed)
        return real(path)

    monkeypatch.setattr(no_run.os, "scandir", refused)
    done = labctl(*command.split(), cwd=desk, expect=5)
    assert f"labctl: {closed} may not be looked into: Permission denied; expected a folder" in done.stderr


def test_what_a_place_does_not_allow_is_no_bug(desk, labctl, monkeypatch):
    def refused(*_):
        raise PermissionError(errno.EACCES, "Permission denied", "run/notes")

    monkeypatch.setattr("labctl.storage.verification.verify_run", refused)
    done = labctl("verify", "run", cwd=desk, expect=5)
    assert done.stderr.strip() == "labctl: run/notes: Permission denied; expected a place that this user may use"


def test_a_folder_that_is_not_there_is_not_closed(tmp_path):
    no_run.require_open(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    no_run.require_open(tmp_path / "file")
