"""The terminal: progress, durations, tables on a screen, signals."""
