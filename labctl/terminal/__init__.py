"""What a person at a terminal sees and presses: progress, durations, tables on a screen, signals."""
