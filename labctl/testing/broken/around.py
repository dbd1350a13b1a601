"""A subject around a good one, for what is broken on purpose."""

from collections.abc import Callable
from typing import Any

Break = Callable[[Any], Any]
"""From a good subject to a broken one."""


class Around:
    """A subject that is what the one inside is, but for what a subclass breaks."""

    def __init__(self, inner: Any) -> None:
        object.__setattr__(self, "_inner", inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._inner, name, value)


def with_method(name: str, value: Any) -> Any:
    """Return the class of subjects whose method `name` is `value`, called with the subject inside first."""

    def method(self: Any, *args: Any, **keywords: Any) -> Any:
        return value(self._inner, *args, **keywords)

    return type("Broken", (Around,), {name: method})


class Unasked(Around):
    """A matrix or prober that calls no permit."""

    permit: Any = None

    def __init__(self, inner: Any) -> None:
        inner.permit = lambda: None
        super().__init__(inner)

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "permit":
            super().__setattr__(name, value)
