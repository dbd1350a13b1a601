"""What a cluster that goes away makes of its client; whole runs on clusters are in `tests/e2e/test_executors.py`."""

import pytest

from labctl.core.errors import BenchError

distributed = pytest.importorskip("distributed", reason="needs the extra 'cluster'")
from labctl.batch.dask_executor import Dask  # noqa: E402


class Client:
    """A client whose link to the scheduler ends in the middle of a call, as `distributed` has it then."""

    def __init__(self, status, error):
        self.status, self.error, self.closed = status, error, False

    def nthreads(self):
        raise self.error

    def close(self):
        self.closed = True


def opened(monkeypatch, status, error):
    client = Client(status, error)
    monkeypatch.setattr(distributed, "Client", lambda *_, **__: client)
    try:
        Dask("tcp://127.0.0.1:8786", print)
    finally:
        assert client.closed


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("running", AttributeError("'NoneType' object has no attribute 'ncores'")),
        ("connecting", RuntimeError("no stream")),
        ("running", TimeoutError("too late")),
    ],
)
def test_whatever_a_client_without_its_scheduler_raises_is_a_cluster_that_does_not_answer(monkeypatch, status, error):
    with pytest.raises(BenchError, match=r"--executor dask=tcp://127\.0\.0\.1:8786: the scheduler does not answer"):
        opened(monkeypatch, status, error)


def test_an_error_of_a_client_that_has_its_scheduler_is_passed_on(monkeypatch):
    with pytest.raises(RuntimeError, match="a bug of theirs"):
        opened(monkeypatch, "running", RuntimeError("a bug of theirs"))
