"""``python -m labctl.report RUN`` writes the report of a run, in a process that owns no outputs."""

import sys
from pathlib import Path

from labctl.core import garbage
from labctl.core.errors import LabError
from labctl.core.texts import visible
from labctl.report.html import write_report

if __name__ == "__main__":
    garbage.leave_at_exit()
    try:
        print(visible(str(write_report(Path(sys.argv[1])))))
    except LabError as error:
        print(f"labctl: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
