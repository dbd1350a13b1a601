"""Refuse an option that is given twice, and an empty text for a path.

Of the two values the first would be dropped without a word, and an empty path is the current folder: mostly what a
variable of the shell left that was never set.
"""

from pathlib import Path
from typing import Any, get_args

from typer.core import TyperGroup


class OnceGroup(TyperGroup):
    """Commands whose options are given once each, flags and those that take several values left out; paths are some."""

    def __init__(self, *words: Any, **named: Any) -> None:
        super().__init__(*words, **named)
        _once(self)


def _once(command: Any) -> None:
    for one in getattr(command, "commands", {}).values():
        _once(one)
    make = command.make_parser

    def make_parser(context: Any) -> Any:
        parser = make(context)
        parse = parser.parse_args

        def parse_args(args: list[str]) -> Any:
            values, rest, order = parse(args)
            for option in order:
                single = option.param_type_name == "option" and not (option.multiple or option.is_flag)
                if single and order.count(option) > 1:
                    last = values[option.name]
                    context.fail(f"{option.opts[0]} is given twice, the last time as '{last}'; expected once")
                _refuse_empty(context, option, values.get(option.name))
            return values, rest, order

        parser.parse_args = parse_args
        return parser

    command.make_parser = make_parser


def _refuse_empty(context: Any, option: Any, given: Any) -> None:
    """Refuse an empty text for a path."""
    kind = option.type_descriptor.annotation
    if "" in (given if isinstance(given, list | tuple) else [given]) and Path in (kind, *get_args(kind)):
        name = option.opts[0] if option.param_type_name == "option" else option.name.upper().rstrip("_")
        context.fail(f"{name}: found an empty text, expected a path (is a variable empty?)")
