"""What is kept: journals, tables, HDF5, results, run folders, locks, the stress ledger."""
