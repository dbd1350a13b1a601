"""Runs in the formats of other people's programs: STDF V4 and CSV."""
