"""A sum that is done is waited for until it arrives, however often dask says that it does not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from diffea.distributed import cluster


@pytest.mark.parametrize("failure", [TimeoutError, UnboundLocalError])
def test_a_sum_that_is_long_in_arriving_is_waited_for(monkeypatch, failure) -> None:
    asked = []

    def result(timeout: float) -> int:
        asked.append(timeout)
        if len(asked) < 200:
            raise failure
        return 7

    monkeypatch.setattr(cluster, "BETWEEN", 0.0)
    sent = SimpleNamespace(whole=SimpleNamespace(result=result, status="finished"), places=frozenset())
    lane = SimpleNamespace(_check=lambda sent: None)
    assert cluster.OnCluster._result(lane, sent) == 7
    assert asked[-1] == cluster.PATIENT
