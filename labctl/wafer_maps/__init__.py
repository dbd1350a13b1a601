"""Wafer maps: what a map is, and the formats in which it is read and written."""
