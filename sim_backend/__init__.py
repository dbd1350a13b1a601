"""The simulated die: junction physics, the crossbar circuit, and the die they make."""
