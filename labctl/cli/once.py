"""Refuse an option that is given twice: its first value would be dropped without a word."""

from typing import Any

from typer.core import TyperGroup


class OnceGroup(TyperGroup):
    """Commands whose options are given once each, flags and those that take several values left out."""

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
            return values, rest, order

        parser.parse_args = parse_args
        return parser

    command.make_parser = make_parser
