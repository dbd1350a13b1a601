"""Plan a campaign one of whose files is mutated, as `labctl plan` does, and judge how that ends.

The command ends with 0, or with 2 and a message that names the file, or the one that it does not fit to; never with a
traceback.
"""

import random
import re
import sys
import time
import warnings
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from faults.reading import CAMPAIGN, EXAMPLES, KINDS, Course, alarm, mutated, place, restore

from labctl.cli import main as command_line

HUNG = 300
OF_WAFER = ("  exclude:", "  golden:")
"""Lines of the campaign that name dies, which another wafer or map does not have."""
NPZ = ("solutions.npz", "data.npz")
NAMES = {"campaign": "campaign.yaml", "die": "die.yaml", "wafer": "wafer.yaml", "bench": "bench.yaml", "map": "map.csv"}


def carry_out(number):
    """Mutate a file of a campaign, plan it, and return the course."""
    rng = random.Random(f"plan {number}")
    kind = rng.choice(KINDS)
    _, mutation, content = mutated(kind, 1_000_000 + number)
    course = Course("plan", number, f"{kind}: {mutation}")
    folder = place()
    restore(folder)
    campaign = CAMPAIGN.replace("dies/passive-15x15.yaml", "die.yaml")
    campaign = "".join(line for line in campaign.splitlines(keepends=True) if not line.startswith(OF_WAFER))
    (folder / "die.yaml").write_bytes((EXAMPLES / "dies/passive-15x15.yaml").read_bytes())
    (folder / "bench.yaml").write_bytes((EXAMPLES / "bench-two-arrays.yaml").read_bytes())
    (folder / "campaign.yaml").write_text(campaign)
    arguments = ["labctl", "plan", str(folder / "campaign.yaml")]
    name = NAMES.get(kind, "")
    if kind == "npz":
        name = NPZ[b"fc1" not in content]
    if kind == "map":
        (folder / "wafer.yaml").write_text("name: W01\nmap_file: map.csv\n")
    if kind == "bench":
        arguments += ["--bench", str(folder / "bench.yaml"), "--sim", "bytes"]
    (folder / name).write_bytes(content)
    judge(course, arguments, name)
    return course


def judge(course, arguments, name):
    """Call the command line, and note in the course how it ends and what does not hold."""
    out, err = StringIO(), StringIO()
    argv, code, begin = sys.argv, None, time.process_time()
    sys.argv = arguments
    with warnings.catch_warnings(record=True) as warned, redirect_stdout(out), redirect_stderr(err):
        warnings.simplefilter("always")
        try:
            with alarm(HUNG):
                command_line.main()
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException as error:
            course.violated.append(f"{type(error).__name__}: {str(error)[:200]}")
        finally:
            sys.argv = argv
    course.seconds = round(time.process_time() - begin, 3)
    text = err.getvalue()
    course.ending, course.message = {0: "read", 2: "refused"}.get(code, ""), text[:400]
    if code not in (0, 2):
        course.violated.append(f"exit code {code}: {text[-300:]}")
    others = (*NAMES.values(), *NPZ, "the bench", "the limit", "the wiring")
    if code == 2 and not any(words in text for words in (name, *others)):
        course.violated.append(f"the message does not name {Path(name).name}: {text[:200]}")
    if "Traceback" in text:
        course.violated.append("a traceback")
    if odd := re.search(r"[^\n\t\x20-\x7e]", "".join(c for c in text + out.getvalue() if not c.isprintable())):
        course.violated.append(f"U+{ord(odd[0]):04X} was printed")
    course.violated += [f"warning: {str(one.message)[:200]} at {one.filename}:{one.lineno}" for one in warned]
