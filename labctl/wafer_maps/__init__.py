"""Wafer maps: the model of a map, and the formats in which it is read and written."""
