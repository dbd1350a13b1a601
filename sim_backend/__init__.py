"""The simulated die: junction physics, the crossbar circuit, and the die they make."""

__distribution__ = "mtj-labctl"
