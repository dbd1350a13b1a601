"""Every command with its arguments and options, as the command line itself declares them."""

from collections.abc import Iterator
from typing import Any

import typer

from docsite.file_keys import cell

_KINDS = {"integer": "NUMBER", "float": "NUMBER", "integer range": "NUMBER", "float range": "NUMBER"}


def render() -> str:
    """Return a section for each command of ``labctl``."""
    from labctl.cli.commands import app

    group: Any = typer.main.get_command(app())
    context = typer.Context(group, info_name="labctl")
    return "\n".join(
        line
        for name in group.list_commands(context)
        for line in _command(group.get_command(context, name), f"labctl {name}")
    )


def _command(command: Any, path: str) -> Iterator[str]:
    """Yield the section of a command, and those of the commands below it."""
    below = getattr(command, "commands", {})
    context = typer.Context(command, info_name=path)
    yield f"## {path}\n"
    usage = " ".join(command.collect_usage_pieces(context)).translate({ord("{"): None, ord("}"): None})
    yield f"```text\n{path} {usage.replace('[[', '[').replace(']]', ']')}\n```\n"
    yield f"{_paragraphs(command.help or '')}\n"
    rows = [row for parameter in command.params if (row := _parameter(parameter))]
    if rows:
        yield "\n".join(["| argument or option | meaning | if left out |", "|---|---|---|", *rows, ""])
    for name, one in below.items():
        yield from _command(one, f"{path} {name}")


def _parameter(parameter: Any) -> str:
    """Return the row of an argument or an option."""
    if parameter.param_type_name == "argument":
        names = (parameter.metavar or parameter.name.upper()).strip("[]")
    else:
        names = ", ".join([*parameter.opts, *parameter.secondary_opts])
        if not parameter.is_flag:
            names = f"{names} {parameter.metavar or _KINDS.get(parameter.type.name, parameter.name.upper())}"
    default = parameter.default
    if callable(default) or default in (None, "", False, (), []) or parameter.required:
        left_out = "**required**" if parameter.required else ""
    else:
        left_out = "on" if default is True else f"`{getattr(default, 'value', default)}`"
    return f"| `{cell(names)}` | {cell(getattr(parameter, 'help', '') or '')} | {left_out} |"


def _paragraphs(text: str) -> str:
    """Return a help text as Markdown: what stands in angle brackets or square ones is no markup."""
    plain = text.replace("\b", "").replace("\\[", "[")
    return (
        "\n\n".join(" ".join(part.split()) for part in plain.split("\n\n"))
        .replace("<", "&lt;")
        .replace("[/bold]", "")
        .replace("[bold]", "")
    )
