"""The memory of a lab: one row per die, kernel group and run, in Parquet, made from run folders and nothing else."""
