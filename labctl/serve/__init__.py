"""The page from elsewhere: runs in a browser, read from their folders alone, and never in their way.

Nothing that a run has written is changed: SQLite alone makes its files ``-wal`` and ``-shm`` beside a journal that is
read. No lock is kept: to ask who holds a run or an instrument takes its lock, shared, for milliseconds. To look at
runs, and again at a die that has changed, has a pace (`labctl.report.pace`); a run or a die that is opened for the
first time is drawn at once. What the page says is what `labctl watch` and the report say: it is made by the same
functions.
"""
