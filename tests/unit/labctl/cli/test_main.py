"""The commands together: which there are, and that options that several share are declared once."""

import os
from collections import defaultdict

import pytest
import typer
from rich.text import Text
from typer.testing import CliRunner

from labctl.cli.commands import MODULES, app
from labctl.cli.main import main
from labctl.core.errors import InstrumentError

OWN_HELP = {
    "seed",
    "out",
    "bench",
    "die",
    "dies",
    "as_json",
    "reason",
    "plot",
    "run",
    "csv",
    "png",
    "path",
    "figure",
    "yes",
    "data",
}
"""Parameters that mean another thing to another command, and say so in their help."""


def commands(group, path=""):
    """Yield name and command, those of groups included."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} ")
        else:
            yield f"{path}{name}", command


COMMANDS = dict(commands(typer.main.get_command(app())))


def test_every_command_is_there():
    assert set(COMMANDS) == {
        "plan", "run", "show", "train", "doctor", "schema", "check", "read", "pulse", "map", "off", "twin", "export",
        "stress", "reproduce mtj-chip", "reproduce wine-passive", "reproduce wine-sizes", "resume", "stop",
        "skip", "watch", "report", "notify", "transcript", "verify", "prune", "publish", "import-network", "new",
        "serve",
        "fleet add", "fleet query", "fleet map", "fleet trend",
    }  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_a_command_alone_is_what_it_is_among_all(module):
    for word in MODULES[module]:
        alone = typer.main.get_command(app(word))
        assert tuple(alone.commands) == MODULES[module]
        assert alone.help.startswith("Run write-verify")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_no_word_of_a_help_is_taken_for_markup(name):
    for parameter in COMMANDS[name].params:
        text = getattr(parameter, "help", None) or ""
        assert Text.from_markup(text).plain == text, parameter.name


def test_an_option_has_the_same_help_in_every_command():
    helps = defaultdict(set)
    for command in COMMANDS.values():
        for parameter in command.params:
            helps[parameter.name].add(getattr(parameter, "help", None))
    assert {name for name, texts in helps.items() if len(texts) > 1} <= OWN_HELP, "declare it in cli/options.py"


@pytest.mark.parametrize(("begun", "code", "said"), [(False, 2, "labctl: refused: gone"), (True, 3, "labctl: gone")])
def test_a_bench_that_fails_is_a_refusal_only_while_there_is_no_run(monkeypatch, capsys, begun, code, said):
    def fail(**_):
        error = InstrumentError("gone")
        error.begun = begun
        raise error

    monkeypatch.setattr("labctl.cli.main.app", lambda word: fail)
    monkeypatch.setattr("signal.signal", lambda *arguments: None)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == code
    assert capsys.readouterr().err == f"{said}\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize(("code", "left_with"), [(0, 5), (1, 5), (3, 3)])
def test_an_output_that_cannot_be_written_is_told_at_the_end(monkeypatch, capsys, code, left_with):
    def speak(**_):
        print("the whole answer")
        raise SystemExit(code)

    monkeypatch.setattr("labctl.cli.main.app", lambda word: speak)
    monkeypatch.setattr("signal.signal", lambda *arguments: None)
    with open("/dev/full", "w") as full:
        monkeypatch.setattr("sys.stdout", full)
        with pytest.raises(SystemExit) as left:
            main()
    assert left.value.code == left_with
    assert ("cannot be written: No space left on device" in capsys.readouterr().err) is (left_with != code)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "c.yaml", "--seed", "1.5"], "--seed 1.5: expected a number; see: labctl run --help"),
        (["run", "c.yaml", "--pretest=0"], "--pretest=0: expected at least 1; see: labctl run --help"),
        (
            ["run", "c.yaml", "--bensh", "b"],
            "no such option: --bensh (Possible options: --bench, --bins)",
        ),
        (["run"], "missing argument 'CAMPAIGN'; see: labctl run --help"),
        (["ran"], "no such command 'ran'"),
        (["reproduce", "nothing"], "no such command 'nothing'; expected one of mtj-chip, wine-passive, "),
    ],
)
def test_a_slip_in_the_command_line_is_refused_in_one_line(monkeypatch, capsys, words, says):
    monkeypatch.setattr("sys.argv", ["labctl", *words])
    monkeypatch.setattr("signal.signal", lambda *arguments: None)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"labctl: refused: {says}")


@pytest.mark.parametrize(("words", "code"), [([], 2), (["reproduce"], 2), (["run", "--help"], 0), (["--version"], 0)])
def test_help_and_version_are_printed(monkeypatch, capsys, words, code):
    monkeypatch.setattr("sys.argv", ["labctl", *words])
    monkeypatch.setattr("signal.signal", lambda *arguments: None)
    with pytest.raises(SystemExit) as left:
        main()
    assert (left.value.code or 0) == code
    assert capsys.readouterr().out


def test_a_folder_that_was_deleted_is_named_as_the_reason(monkeypatch, capsys, tmp_path):
    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setattr("sys.argv", ["labctl", "plan", "/c.yaml"])
    monkeypatch.setattr("signal.signal", lambda *arguments: None)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "the current folder has been deleted" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [("run", "a.yaml", "--only", "A", "--only", "B"), ("fleet", "query", "--fleet", "A", "--fleet=B")]
)
def test_an_option_that_is_given_twice_is_refused(monkeypatch, capsys, words):
    monkeypatch.setattr("sys.argv", ["labctl", *words])
    monkeypatch.setattr("signal.signal", lambda *arguments: None)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert (
        f"refused: {words[2]} is given twice, the last time as 'B'; expected once; see: labctl {words[0]}"
        in capsys.readouterr().err
    )


def test_what_takes_several_values_may_be_given_again(monkeypatch, capsys):
    monkeypatch.setattr(
        "sys.argv", ["labctl", "plan", "nowhere.yaml", "--set", "a=1", "--set", "b=2", "--json", "--json"]
    )
    monkeypatch.setattr("signal.signal", lambda *arguments: None)
    with pytest.raises(SystemExit):
        main()
    assert "nowhere.yaml: no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("pru", {"prune"}),
        ("publish --li", {"--licence"}),
        ("new b", {"bench"}),
        ("new d", {"die", "driver"}),
        ("schema bo", {"board"}),
        ("fleet q", {"query"}),
    ],
)
def test_the_shell_completes_commands_options_and_kinds(words, completed):
    environment = {
        "_LABCTL_COMPLETE": "complete_bash",
        "COMP_WORDS": f"labctl {words}",
        "COMP_CWORD": str(len(words.split())),
    }
    done = CliRunner().invoke(app(), prog_name="labctl", env=environment)
    assert set(done.stdout.split()) == completed
