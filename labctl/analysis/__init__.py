"""Evaluation of measurements: figures of merit, distributions."""
