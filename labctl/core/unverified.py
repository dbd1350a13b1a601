"""A bench that was left and not verified safe."""

from labctl.core.errors import InstrumentError


class LeftUnverified(InstrumentError):
    """A bench was left and could not be verified safe; somebody has to go there."""

    exit_code = 6
