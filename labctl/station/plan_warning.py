"""A warning of a plan, and the place in a file that it is about."""

from dataclasses import asdict, dataclass

from labctl.station.run_spec import RunSpec


@dataclass(frozen=True)
class PlanWarning:
    """One warning.

    Args:
        text: what was found, and what was expected.
        key: of the value in its file.
        where: `file:line`; empty if the value is in no file.
    """

    text: str
    key: str = ""
    where: str = ""

    def __str__(self) -> str:
        return ": ".join(filter(None, [self.where, self.key, self.text]))

    def plain(self) -> dict[str, str]:
        """Return it for JSON."""
        return asdict(self)


def where_of(spec: RunSpec, value: object, *path: str | int) -> str:
    """Return `file:line` of `path` in the file that `value` was read from; "" if no file holds it as it is."""
    for source in spec.loaded:
        read = source.value
        if read is value or getattr(read, "junction", None) is value:
            return str(source.where(*path))
    return ""
