"""Decisions over a die: how to survey, write, verify and read it. Pure: no wire, no file, no clock."""

__distribution__ = "mtj-labctl"
