"""Models of the files that people write: the campaign, its rules, the wafer file."""
