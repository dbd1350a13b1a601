"""Options that several commands share."""

import os
from pathlib import Path

import pytest

from labctl.cli import options
from labctl.cli.bench_options import check_sim
from labctl.cli.options import default_workers, open_to_us, overrides
from labctl.core.errors import BenchError, StorageError
from labctl.core.exit_codes import ExitCode


@pytest.mark.parametrize("option", ["--set", "--train"])
@pytest.mark.parametrize("pair", ["epochs", "=20"])
def test_a_change_without_key_or_value_is_refused(option, pair):
    with pytest.raises(BenchError, match=f"{option} {pair}: expected key=value"):
        overrides([pair], option)


def test_a_value_may_have_an_equals_sign_and_a_key_blanks():
    assert overrides(["a.b = x=y", "c="]) == {"a.b": " x=y", "c": ""}
    assert overrides(None) == {}


def test_a_twin_is_of_a_known_kind():
    for sim in (None, "bytes", "tcp"):
        check_sim(sim)
    with pytest.raises(BenchError, match="--sim udp: expected bytes or tcp"):
        check_sim("udp")


@pytest.mark.parametrize("inner", [True, False])
def test_a_run_folder_that_this_user_may_not_look_into_is_there_and_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inner: bool
) -> None:
    assert open_to_us(tmp_path) == tmp_path
    assert open_to_us(tmp_path / "nowhere") == tmp_path / "nowhere"

    def closed(*_: object) -> bool:
        raise PermissionError

    if inner:
        monkeypatch.setattr(os, "access", lambda *_: False)
    else:
        monkeypatch.setattr(Path, "is_dir", closed)
    with pytest.raises(StorageError, match="it may not be read by this user") as refused:
        open_to_us(tmp_path)
    assert refused.value.exit_code == ExitCode.STORAGE


@pytest.mark.parametrize(("patterns", "workers"), [(0, 1), (9_999, 1), (10_000, 2), (29_999, 3), (5_000_000, 9)])
def test_one_more_process_is_started_where_there_is_work_for_it(patterns, workers, monkeypatch):
    monkeypatch.setattr(options.os, "cpu_count", lambda: 8)
    assert default_workers(patterns) == workers
