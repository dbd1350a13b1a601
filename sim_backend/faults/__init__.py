"""Faults that are injected into simulated instruments and dies: their kinds, the layer, and a plausible night."""
