"""Wait for what another process or thread comes to. No test judges by wall time: giving up only ends a hang."""

import subprocess
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
PATIENCE = 600.0
"""A wait that lasts longer than this hangs, s; on the busiest machine what is waited for comes in a tenth of it."""


def until(is_so: Callable[[], T], process: "subprocess.Popen[Any] | None" = None) -> T:
    """Return the first true result of `is_so`.

    Args:
        process: what it depends on; the wait ends with an error if this process has ended.

    Raises:
        AssertionError: it does not come to be so.
    """
    end, begun = time.monotonic() + PATIENCE, time.process_time()
    while not (result := is_so()):
        if process is not None and process.poll() is not None and not (result := is_so()):
            raise AssertionError(f"ended with {process.returncode} before it was so: {process.communicate()}")
        if result:
            break
        assert time.monotonic() < end, "it never came to be so"
        # a question that costs much is asked less often: the processor is for what it is about
        time.sleep(min(max(0.01, 4 * (time.process_time() - begun)), 0.1))
        begun = time.process_time()
    return result
