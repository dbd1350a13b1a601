"""Defects of cells, as a survey classifies them."""

DEFECTS = dict(enumerate(("short", "open", "stuck P", "stuck AP", "low TMR", "unreadable", "not reached"), start=1))
"""Names of the codes in the column `defect` of a survey; 0 is a good cell."""
