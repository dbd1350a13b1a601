"""The experiments of the literature, repeated on simulated dies with one command each, from training to table.

An experiment is a list of steps, each an ordinary training or an ordinary campaign whose folder can be shown, exported
and reported like any other; what this package adds is their order, and the comparison at the end.
"""
