"""The file of the token: made for its owner alone, and refused where others may know it."""

import os
import stat
import sys
from pathlib import Path

import pytest

from labctl.core.errors import BenchError
from labctl.serve.token_file import new_token, token_in


def test_a_file_that_is_not_there_is_made_for_its_owner_alone_and_read_again(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        token = token_in(tmp_path / "token")
    finally:
        os.umask(before)
    assert len(token) >= 43
    assert token_in(tmp_path / "token") == token
    assert token != new_token()
    if sys.platform != "win32":
        assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600


@pytest.mark.skipif(sys.platform == "win32", reason="rights are an access list there")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "token"
    token_in(path)
    path.chmod(mode)
    with pytest.raises(BenchError, match=r"expected a file of its owner alone: chmod 600 .*token"):
        token_in(path)


@pytest.mark.parametrize("content", ["", "short", "a" * 31, "secret token with spaces in it, long enough"])
def test_what_is_no_token_is_refused_and_not_repeated(tmp_path: Path, content: str) -> None:
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(content)
    with pytest.raises(BenchError, match="holds no token, expected one line of at least 32") as refused:
        token_in(path)
    assert not content or content not in str(refused.value)


def test_what_cannot_be_made_or_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="cannot be made: No such file"):
        token_in(tmp_path / "nowhere" / "token")
    with pytest.raises(BenchError, match=r"is no regular file|cannot be read"):
        token_in(tmp_path)
