"""What people look at: the watch screen while a run goes on, and one page in the morning.

All of it is made from the run folder alone: the run's own journal says what was decided, the files of the dies what was
measured. Nothing here writes anything but ``report.json`` and ``report.html``.
"""
