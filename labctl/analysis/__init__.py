"""Evaluation of measurements: figures of merit, defects, distributions."""
