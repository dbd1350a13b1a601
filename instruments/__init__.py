"""Drivers of real instruments and the die they add up to."""

__distribution__ = "mtj-labctl"
