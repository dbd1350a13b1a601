"""The rules of a campaign file for a batch of dies: order, new tries, budgets, and when to stop."""

from enum import StrEnum

from pydantic import Field

from labctl.config.reference_die import Golden
from labctl.core.model import Model
from labctl.core.units import Ratio, Second


class DieOrder(StrEnum):
    """Order in which dies are measured."""

    MAP = "map"
    CENTRE_OUT = "centre-out"
    SHUFFLED = "shuffled"


class Yield(Model):
    """A bound on the yield."""

    below: Ratio = Field(gt=0, le=1, description="stop when the share of good dies is below this")
    after: int = Field(gt=0, description="once so many dies are done")


class StopRules(Model):
    """When a run stops by itself; no other die is begun, the exit code is 3."""

    contact_failures: int | None = Field(default=3, gt=0, description="so many dies without contact, one after another")
    same_exception: int | None = Field(default=2, gt=1, description="so many dies in a row with the same error")
    low_yield: Yield | None = Field(default=None, description="the yield is too low: {below: 50 %, after: 6}")
    pretest: Ratio = Field(default=0.5, ge=0, le=1, description="less than this share of the pre-tested dies is good")
    golden_drift: bool = Field(default=False, description="the golden die has drifted; if false, it is only reported")


class Budgets(Model):
    """Budgets of a run. That of touches per pad is in the bench file, that of pulses per cell under 'limits'.

    The time of a die of a bench ends when it was measured; its sealing goes on beside the next one.
    """

    time: Second | None = Field(default=None, gt=0, description="no die is begun that would not end in time, e.g. 14 h")


class Batch(Model):
    """Rules for all dies of a campaign."""

    order: DieOrder = Field(default=DieOrder.MAP, description="map: as the wafer map lists them; shuffled: by the seed")
    tries: int = Field(default=0, ge=0, le=9, description="new tries of a die on which something went wrong")
    pretest: int | None = Field(default=None, gt=0, description="so many dies first, spread over the wafer")
    golden: Golden | None = None
    stop: StopRules = StopRules()
    budgets: Budgets = Budgets()
    reconnects: int = Field(default=4, ge=0, le=100, description="new connections to a bench that went away, per run")
