"""The command line as a command and as `python -m labctl`.

A worker of a run imports the module that the command calls: this one, and not all commands with it.
"""


def main() -> None:
    """Run the command line."""
    from labctl.cli.main import main as carry_out
    from labctl.core import garbage

    garbage.leave_at_exit()
    carry_out()


if __name__ == "__main__":
    main()
