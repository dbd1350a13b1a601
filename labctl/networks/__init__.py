"""Neural networks: data sets, weights, training."""
