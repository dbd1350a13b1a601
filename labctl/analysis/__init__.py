"""What measurements come to: figures of merit, defects, distributions."""
