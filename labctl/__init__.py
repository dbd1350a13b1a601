"""Run write-verify and inference on magnetic tunnel junction dies, real or simulated."""
