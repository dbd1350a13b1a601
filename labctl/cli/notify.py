"""``labctl notify``: send a test message to everybody whom a campaign would notify."""

import logging
import sys

import typer

from labctl.cli.options import CampaignPath, Set, overrides
from labctl.core.errors import BenchError
from labctl.core.exit_codes import ExitCode


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(rich_help_panel="Overnight")(notify)


def notify(campaign: CampaignPath, set_: Set = None) -> None:
    """Send a test message to everybody whom CAMPAIGN notifies, once, and say who took it.

    Tags are looked up in the file that LABCTL_NOTIFY names, or in notify.yaml of the user's configuration folder.
    Exit code 2 if somebody did not take it. Example: labctl notify overnight.yaml
    """
    from labctl import files
    from labctl.batch.notifications import try_out
    from labctl.batch.receivers import receivers
    from labctl.station.registry import campaign_model

    source = files.read(campaign, campaign_model(), overrides(set_))
    loaded = source.value
    if loaded.notify is None:
        raise BenchError(f"{campaign} notifies nobody; expected a section 'notify' with a command or a tag")
    # on this terminal, and never in a run, apprise may say why it failed
    logging.getLogger("apprise").addHandler(logging.StreamHandler(sys.stderr))
    failed = False
    try:
        named = receivers(loaded.notify)
    except BenchError as error:
        raise BenchError(f"{source.where('notify')}: {error}") from error
    for name, why in try_out(named, {"run": loaded.name, "folder": str(campaign)}):
        print(f"{name}: {'NOT delivered, ' + why if why else 'delivered'}")
        failed |= bool(why)
    raise typer.Exit(ExitCode.REFUSED if failed else ExitCode.GOOD)
