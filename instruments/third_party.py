"""A driver of another distribution: whatever it raises or replies wrongly is reported as an error of that driver."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from instruments.interfaces import has_method
from instruments.transport import Urgent
from labctl.core.errors import InstrumentError, LabError
from labctl.core.source import ChannelState
from labctl.core.transport import Transport


class ThirdPartyDriver:
    """Proxy of a third-party driver: passes its attributes on; its errors and bad replies become InstrumentErrors.

    Args:
        name: in the bench file.
        driver: its name among the installed drivers.
        make: makes the driver.
        transport: to the instrument; None without a wire of text.

    Raises:
        InstrumentError: its construction failed.
    """

    emergency_open = None
    """Not passed on: a third-party matrix is opened by `route` and verified by `closed`."""

    def __init__(self, name: str, driver: str, make: Callable[[], Any], transport: Transport | None) -> None:
        hold = object.__setattr__
        hold(self, "_title", f"{name}: its driver '{driver}', which is not part of this suite,")
        hold(self, "_transport", transport)
        hold(self, "_connected", False)
        with self._errors_named("when it was made"):
            hold(self, "_driver", make())

    def connect(self) -> str:
        """Read identity and state; return the identity."""
        with self._errors_named("in connect()"):
            identity = str(self._driver.connect())
        object.__setattr__(self, "_connected", True)
        return identity

    def emergency_off(self) -> dict[str, ChannelState]:
        """Switch a source off as fast as its driver can, and verify; no query goes over the transport before.

        Its own emergency method comes first, if it has one. If that fails or is missing, it is connected if necessary,
        errors ignored, and `off` is called. It is verified by `verify_off`, or by `state` if that is missing.
        """
        if isinstance(self._transport, Urgent):
            self._transport.ask_nothing_first()
        before: Any = {}
        try:
            before = self.__getattr__("emergency_off")()
            self._verify_off()
        except (AttributeError, LabError):
            if not self._connected:
                with suppress(LabError):
                    self.connect()
            self.__getattr__("off")()
            self._verify_off()
        if not isinstance(before, Mapping):
            return {}
        return {channel: state for channel, state in before.items() if isinstance(state, ChannelState)}

    def _verify_off(self) -> None:
        """Verify that it is off; InstrumentError if it is not, or cannot report it."""
        if has_method(self._driver, "verify_off"):
            if self.__getattr__("verify_off")() is False:
                raise InstrumentError(f"{self._title} reports that it is NOT off")
            return
        if not has_method(self._driver, "state"):
            raise InstrumentError(f"{self._title} has neither verify_off() nor state(): whether it is off is not known")
        for channel, state in self.__getattr__("state")().items():
            if state.output or not abs(state.level) <= 1e-6 or state.current:
                raise InstrumentError(f"{self._title} reports that {channel} is on at {state.forced}")

    @contextmanager
    def _errors_named(self, where: str) -> Iterator[None]:
        try:
            yield
        except (LabError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise InstrumentError(f"{self._title} failed {where}: {type(error).__name__}: {error}") from error

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        driver = object.__getattribute__(self, "_driver")
        try:
            value = getattr(driver, attribute)
        except AttributeError:
            raise
        except Exception as error:
            with self._errors_named(f"at {attribute}"):
                raise error
        if not callable(value):
            return value

        def call(*arguments: Any, **keywords: Any) -> Any:
            with self._errors_named(f"in {attribute}()"):
                reply = value(*arguments, **keywords)
                return _CHECKED[attribute](reply) if attribute in _CHECKED else reply

        return call

    def __setattr__(self, attribute: str, value: Any) -> None:
        setattr(self._driver, attribute, value)


def _crosspoints(reply: Any) -> frozenset[str]:
    """Return the reply of `closed` as a set; TypeError if it is no collection of texts."""
    if isinstance(reply, str) or not all(isinstance(crosspoint, str) for crosspoint in reply):
        raise TypeError(f"{reply!r} is no collection of crosspoints")
    return frozenset(reply)


def _states(reply: Any) -> Mapping[str, ChannelState]:
    """Return the reply of `state`; TypeError if it is no mapping from channels to their states."""
    if not isinstance(reply, Mapping) or not all(isinstance(state, ChannelState) for state in reply.values()):
        raise TypeError(f"{reply!r} is no mapping from channels to ChannelState")
    return reply


def _boolean(reply: Any) -> bool:
    """Return True or False; TypeError for anything else, such as None."""
    if not isinstance(reply, bool):
        raise TypeError(f"{reply!r} is neither True nor False")
    return reply


_CHECKED: Mapping[str, Callable[[Any], Any]] = {
    "closed": _crosspoints,
    "state": _states,
    "in_contact": _boolean,
    "separated": _boolean,
}
"""Type checks of the replies of a third-party driver on which safety depends."""
