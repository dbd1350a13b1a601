"""Let `python -m labctl` be the command line."""

from labctl.cli.main import main

main()
