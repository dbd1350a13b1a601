"""Statements of a bench file about the object of another library: what is called, set or read, as text.

A small part of Python: names, attributes, calls, subscripts, literals, arithmetic, comparisons, and one assignment to
an attribute. Nothing else is carried out, so that a bench file can say what to do with an object and no more. What a
statement uses is known before anything is connected.
"""

import ast
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

_BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Mod: operator.mod, ast.BitAnd: operator.and_,
}  # fmt: skip
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge, ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip
_UNARY: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_,
}  # fmt: skip
_PARTS = (
    ast.Expr, ast.Assign, ast.Name, ast.Attribute, ast.Call, ast.keyword, ast.Subscript, ast.Constant, ast.Tuple,
    ast.List, ast.Dict, ast.BinOp, ast.UnaryOp, ast.Compare, ast.expr_context, *_BINARY, *_COMPARE, *_UNARY,
)  # fmt: skip


@dataclass(frozen=True)
class Statement:
    """One statement.

    Args:
        text: as the bench file has it.

    Raises:
        ValueError: it is no statement, or has a part that is not carried out.

    >>> Statement("source_voltage = volts").names
    ['source_voltage', 'volts']
    >>> Statement("import os")
    Traceback (most recent call last):
    ValueError: 'import os' has a part that is not carried out: Import; expected calls, attributes and arithmetic
    """

    text: str

    def __post_init__(self) -> None:
        self.tree  # noqa: B018 - judged when it is made

    @cached_property
    def tree(self) -> ast.Expr | ast.Assign:
        """The parsed statement."""
        try:
            body = ast.parse(self.text.strip()).body
        except (SyntaxError, ValueError) as error:
            raise ValueError(
                f"'{self.text}' is no statement: {getattr(error, 'msg', error)}; expected one such as "
                "'source_voltage = volts' or 'measure_current(nplc=cycles)'"
            ) from error
        if len(body) != 1:
            raise ValueError(f"'{self.text}' is {len(body)} statements; write them as a list")
        tree = body[0]
        for part in ast.walk(tree):
            if not isinstance(part, _PARTS):
                raise ValueError(
                    f"'{self.text}' has a part that is not carried out: {type(part).__name__}; expected calls, "
                    "attributes and arithmetic"
                )
            name = part.attr if isinstance(part, ast.Attribute) else part.id if isinstance(part, ast.Name) else ""
            if name.startswith("_"):
                raise ValueError(f"'{self.text}' uses '{name}', which is private to its class")
        if isinstance(tree, ast.Assign) and (
            len(tree.targets) != 1 or not isinstance(tree.targets[0], ast.Name | ast.Attribute)
        ):
            raise ValueError(f"'{self.text}' sets something else than one attribute")
        assert isinstance(tree, ast.Expr | ast.Assign)
        return tree

    @property
    def assigns(self) -> bool:
        """Whether it sets an attribute, and has no value."""
        return isinstance(self.tree, ast.Assign)

    @property
    def sets(self) -> str:
        """The attribute of the object that it sets; "" if it sets none, or one of a part."""
        target = self.tree.targets[0] if isinstance(self.tree, ast.Assign) else None
        return target.id if isinstance(target, ast.Name) else ""

    def needs(self, known: Collection[str]) -> bool:
        """Return whether it needs the object, and not only variables and functions that are known."""
        return self.assigns or not set(self.names) <= set(known)

    @cached_property
    def names(self) -> list[str]:
        """The names that it begins from: variables, functions, and attributes of the object."""
        return sorted({part.id for part in ast.walk(self.tree) if isinstance(part, ast.Name)})

    def carry_out(self, scope: Mapping[str, Any], subject: Any) -> Any:
        """Return the value of an expression, or set an attribute and return None.

        Args:
            scope: variables and functions by name.
            subject: the object whose attributes all other names are.

        Raises:
            Exception: whatever the object raises.
        """
        if isinstance(self.tree, ast.Expr):
            return _value(self.tree.value, scope, subject)
        (target,) = self.tree.targets
        value = _value(self.tree.value, scope, subject)
        if isinstance(target, ast.Attribute):
            setattr(_value(target.value, scope, subject), target.attr, value)
        else:
            assert isinstance(target, ast.Name)
            setattr(subject, target.id, value)
        return None


def _value(node: ast.expr, scope: Mapping[str, Any], subject: Any) -> Any:
    """Return the value of an expression."""

    def of(part: ast.expr) -> Any:
        return _value(part, scope, subject)

    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return scope[name] if name in scope else getattr(subject, name)
        case ast.Attribute(value=owner, attr=attribute):
            return getattr(of(owner), attribute)
        case ast.Call(func=function, args=arguments, keywords=keywords):
            named = {keyword.arg: of(keyword.value) for keyword in keywords if keyword.arg is not None}
            return of(function)(*map(of, arguments), **named)
        case ast.Subscript(value=owner, slice=index):
            return of(owner)[of(index)]
        case ast.Tuple(elts=parts):
            return tuple(map(of, parts))
        case ast.List(elts=parts):
            return list(map(of, parts))
        case ast.Dict(keys=keys, values=values):
            return {of(key): of(value) for key, value in zip(keys, values, strict=True) if key is not None}
        case ast.BinOp(left=left, op=sign, right=right):
            return _BINARY[type(sign)](of(left), of(right))
        case ast.UnaryOp(op=sign, operand=operand):
            return _UNARY[type(sign)](of(operand))
        case ast.Compare(left=left, ops=signs, comparators=others):
            values = [of(left), *map(of, others)]
            pairs = zip(signs, values[:-1], values[1:], strict=True)
            return all(_COMPARE[type(sign)](one, other) for sign, one, other in pairs)
    raise ValueError(f"{ast.unparse(node)} is not carried out")
