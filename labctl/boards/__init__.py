"""What runs on the boards themselves, and on the emulated ones: the standard library only, nothing of this suite."""
