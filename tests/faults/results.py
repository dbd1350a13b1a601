"""Long runs: their results in a file, one JSON object a line, from which a later call goes on, and their garbage."""

import gc
import json


def collect_rarely():
    """Look for garbage seldom, and never in what is there now; each twin leaves some, and most time went into that."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def done_before(results):
    """Return the results that an earlier call has left in a file; a last line that was cut off is dropped."""
    if results is None or not results.exists():
        return []
    lines = results.read_text(encoding="utf-8").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        results.write_text("".join(lines[:-1]), encoding="utf-8")
        lines.pop()
    return [json.loads(line) for line in lines]


def add_result(results, result):
    """Add one result to the file, if there is one."""
    if results is not None:
        results.parent.mkdir(parents=True, exist_ok=True)
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
