"""Drivers of other libraries behind our interfaces: what of their objects is called, and what is read back by us."""
