"""A contract is a list of checks, each on a new subject; all are carried out, and all that fail are named."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from labctl.core.errors import LabError

T = TypeVar("T")
Check = Callable[[T], None]
"""A function of a subject that raises AssertionError; name and first line of its docstring are what must hold."""


class ContractError(AssertionError):
    """A subject breaks its contract: every check that failed, and why."""


def failures_of(checks: Sequence[Check[T]], arrange: Callable[[], T], clean: Callable[[T], None]) -> Mapping[str, str]:
    """Return why checks fail, by their names; empty if the contract is kept.

    Args:
        arrange: makes a subject for each check.
        clean: is called with it afterwards; its errors are ignored.
    """
    failures: dict[str, str] = {}
    for check in checks:
        subject: T | None = None
        try:
            subject = arrange()
            check(subject)
        except AssertionError as error:
            failures[check.__name__] = str(error) or (check.__doc__ or "").strip()
        except Exception as error:
            failures[check.__name__] = f"{type(error).__name__}: {error}"
        finally:
            if subject is not None:
                with suppress(Exception):
                    clean(subject)
    return failures


def carry_out(
    what: str, checks: Sequence[Check[T]], arrange: Callable[[], T], clean: Callable[[T], None] = lambda subject: None
) -> None:
    """Carry out a contract; ContractError names every check that failed. Arguments as of `failures_of`."""
    failures = failures_of(checks, arrange, clean)
    if failures:
        promise = {check.__name__: (check.__doc__ or "").strip().splitlines()[0] for check in checks}
        lines = [f"  {name}: {promise[name]}\n    {reason}" for name, reason in failures.items()]
        raise ContractError("\n".join([f"{what} breaks {len(failures)} of {len(checks)} checks:", *lines]))


def require(condition: Any, text: str) -> None:
    """Raise AssertionError with `text` unless `condition` is true."""
    if not condition:
        raise AssertionError(text)


def refuses(act: Callable[[], object], what: str) -> None:
    """Raise AssertionError unless `act` raises a `LabError`, the errors that are told to the operator as they are."""
    try:
        act()
    except LabError:
        return
    except Exception as error:
        raise AssertionError(f"{what} raises {type(error).__name__}: {error}; expected a LabError") from error
    raise AssertionError(f"{what} is not refused")
