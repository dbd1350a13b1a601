"""Defects of cells, as a survey tells them."""

DEFECTS = dict(enumerate(("short", "open", "stuck P", "stuck AP", "low TMR", "unreadable", "not reached"), start=1))
"""What the codes in the column `defect` of a survey mean; 0 is a good cell."""
