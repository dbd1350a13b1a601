"""Drivers of real instruments and the die they add up to."""
