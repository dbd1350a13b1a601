"""One procedure after the other on one die: run loop, recorder, replay, plan."""
