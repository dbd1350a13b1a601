"""No output that cannot be written ends a command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from labctl.terminal.outputs import SturdyOutput, sturdy_outputs

COMMAND = """
import sys
from labctl.terminal.outputs import sturdy_outputs
with sturdy_outputs() as output:
    for number in range(20000):
        print("line", number)
    sys.stdout.flush()
    with open("next", "w") as file:
        assert file.fileno() > 2
        print("more")
    print("done" if output.error is None else output.error.strerror, file=sys.stderr)
"""


def carry_out(folder, redirection):
    shell = f"{sys.executable} -c '{COMMAND}' {redirection}"
    done = subprocess.run(["sh", "-c", shell], cwd=folder, capture_output=True, text=True, check=False)
    assert (folder / "next").read_text() == ""
    return done


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    ("redirection", "errors"),
    [(">&-", "done\n"), ("| head -1", "done\n"), (">/dev/full", "No space left on device\n"), ("2>&- >/dev/full", "")],
)
def test_a_command_goes_on_and_knows_what_was_not_written(tmp_path, redirection, errors):
    done = carry_out(tmp_path, redirection)
    assert (done.returncode, done.stderr) == (0, errors)


def test_outputs_are_as_before_afterwards(capsys):
    before = sys.stdout, sys.stderr
    with sturdy_outputs() as output:
        print("heard")
        assert isinstance(sys.stdout, SturdyOutput)
        assert not output.isatty()
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr().out == "heard\n"


def test_what_an_output_has_no_letter_for_is_written_out(tmp_path: Path) -> None:
    with (tmp_path / "latin").open("w", encoding="latin-1") as file:
        output = SturdyOutput(file)
        output.write("90 µm, 名, \udce9\n")
    assert (tmp_path / "latin").read_text(encoding="latin-1") == "90 µm, \\u540d, \\udce9\n"
