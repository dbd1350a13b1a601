"""A pool ends whatever its workers still have to say."""

import threading

from labctl.batch import requests
from labctl.batch.executors import Processes
from tests.waiting import PATIENCE

TALK = """
from labctl.batch import executors
for _ in range(500):
    executors._worker.notify("D1", "alarm", "x" * 1000)
"""
# more than a pipe holds, as of a die under way whose run has ended because of an error


def test_a_pool_ends_though_nobody_takes_the_messages_of_its_workers(tmp_path):
    going = requests.session(tmp_path)
    pool = Processes(1, tmp_path, going)
    executor, _ = pool.open()
    executor.submit(exec, TALK).result()
    closing = threading.Thread(target=pool.close, args=(executor, False), daemon=True)
    closing.start()
    closing.join(PATIENCE)
    hangs = closing.is_alive()
    for child in pool._children:
        child.kill()
    closing.join()
    requests.close(going)
    assert not hangs
