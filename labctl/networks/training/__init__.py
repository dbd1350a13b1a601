"""Training of ternary and binary networks for dies: maps of defects, recipes and the training itself.

Everything here is numbers in, numbers out. JAX and optax are imported where networks are trained and nowhere
else, so that the maps of a die can be made without them.
"""
