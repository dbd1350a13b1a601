"""The procedures of one die in order: run loop, recorder, replay, plan."""
