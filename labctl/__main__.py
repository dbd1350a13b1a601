"""Let `python -m labctl` be the command line."""

from labctl.cli import main

main()
