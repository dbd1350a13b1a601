"""A batch of dies that survives the night: its states, rules, watchdog, locks and messages."""
