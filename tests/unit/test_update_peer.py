"""The benchmark beside prefix-grouper, run small. Before it times, it compares all gradients."""

import pytest

from benchmarks.update import Shape
from benchmarks.update_peer import PEER, report, run


@pytest.mark.slow
def test_the_peer_comes_to_the_same_gradients_and_is_timed() -> None:
    pytest.importorskip("prefix_grouper")
    record = run(rounds=2, hidden_size=128, shape=Shape(32, 4, 8))
    assert set(record["seconds"]) == {"prefix", "mask", PEER}
    assert all(seconds["median"] > 0 for seconds in record["seconds"].values())
    assert set(record["ratio"]) == {"mask", PEER}
    assert PEER in report(record)
