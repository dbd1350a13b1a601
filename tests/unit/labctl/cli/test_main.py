"""The commands together: which there are, and that options that several share are declared once."""

from collections import defaultdict

import pytest
import typer
from rich.text import Text

from labctl.cli.main import app

OWN_HELP = {"seed", "out", "bench", "die", "dies", "as_json", "reason", "plot", "run"}
"""Parameters that mean another thing to another command, and say so in their help."""


def commands(group, path=""):
    """Yield name and command, those of groups included."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} ")
        else:
            yield f"{path}{name}", command


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_every_command_is_there():
    assert set(COMMANDS) == {
        "plan", "run", "show", "train", "doctor", "schema", "check", "read", "pulse", "map", "off", "twin", "export",
        "stress", "reproduce mtj-chip", "reproduce wine-passive", "resume", "stop", "skip", "watch", "report",
        "notify",
    }  # fmt: skip


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
