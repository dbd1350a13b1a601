"""The page from elsewhere: runs in a browser, read from their folders alone, and never in their way.

Nothing is written, no lock is taken, and everything that costs processor time has a pace (`labctl.report.pace`). What
the page says is what `labctl watch` and the report say: it is made by the same functions.
"""
