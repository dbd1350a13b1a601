"""What a cluster that goes away makes of its client; whole runs on clusters are in `tests/e2e/test_executors.py`."""

import pytest

from labctl.core.errors import BenchError

distributed = pytest.importorskip("distributed", reason="needs the extra 'cluster'")
from labctl.batch.dask_executor import Dask  # noqa: E402


class Client:
    """A client whose link to the scheduler ends in the middle of a call, as `distributed` has it then."""

    def __init__(self, status):
        self.status, self.closed = status, False

    def nthreads(self):
        raise AttributeError("'NoneType' object has no attribute 'ncores'")

    def close(self):
        self.closed = True


def opened(monkeypatch, status):
    client = Client(status)
    monkeypatch.setattr(distributed, "Client", lambda *_, **__: client)
    try:
        Dask("tcp://127.0.0.1:8786", print)
    finally:
        assert client.closed


def test_whatever_a_client_without_its_scheduler_raises_is_a_cluster_that_does_not_answer(monkeypatch):
    with pytest.raises(BenchError, match=r"--executor dask=tcp://127\.0\.0\.1:8786: the scheduler does not answer"):
        opened(monkeypatch, "connecting")


def test_an_error_of_a_client_that_has_its_scheduler_is_passed_on(monkeypatch):
    with pytest.raises(AttributeError, match="ncores"):
        opened(monkeypatch, "running")
