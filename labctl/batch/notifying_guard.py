"""The guard of the bench of a run that notifies people: when it has acted, they get an alarm; nobody else sends one.

What the campaign says of notifications is handed over as JSON; addresses are read from their file by the guard itself,
and only when it has acted: a message is never in the way of the bench.
"""

import sys
from contextlib import suppress
from pathlib import Path

from labctl.config.notify import Notify
from labctl.core.errors import BenchError
from labctl.core.events import GuardActed
from labctl.core.units import Second
from labctl.station.guard_process import watch_over

PATIENCE: Second = 120.0
"""How long receivers may take, all tries together."""


def command_of(name: str, notify: Notify | None) -> tuple[str, ...]:
    """Return the command of the guard of a run; folder and bench file are added to it.

    Args:
        name: of the run.
        notify: its receivers, None if nobody is notified.
    """
    if notify is None:
        return (sys.executable, "-m", "labctl.station.guard_process")
    return (sys.executable, "-m", "labctl.batch.notifying_guard", name, notify.model_dump_json())


def send(acted: GuardActed, name: str, folder: Path, notify: Notify, *, patience: Second = PATIENCE) -> int:
    """Send what a guard did to the receivers of its run; return how many messages did not arrive."""
    from labctl.batch.notifications import Notifier
    from labctl.batch.receivers import receivers
    from labctl.station.guard_text import guard_text

    with suppress(BenchError):  # whoever could be notified when the run began cannot be any more
        notifier = Notifier(receivers(notify), notify.on, {"run": name, "folder": str(folder)})
        notifier.send("alarm", guard_text(acted))
        return notifier.close(patience)
    return 1


def main() -> None:
    """Guard a bench: the arguments are name and notifications of the run, its folder, and the bench file."""
    name, notify = sys.argv[1], Notify.model_validate_json(sys.argv[2])
    folder = Path(sys.argv[3])
    acted = watch_over(folder, Path(sys.argv[4]))
    if acted is not None:
        send(acted, name, folder, notify)


if __name__ == "__main__":
    main()
