"""Ray for real: a cluster of two nodes on this machine, with made-up GPUs."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from conftest import NOT_INSTALLED
from promises import PROMISES

from clipbench.running.engines import Engine, Need, chosen

ray = pytest.importorskip("ray", reason=f"{NOT_INSTALLED}ray")
pytestmark = pytest.mark.slow

CPU = Need("cpu", 1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    two = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 2})
    two.add_node(num_cpus=1, num_gpus=2)
    two.wait_for_nodes()
    try:
        yield two
    finally:
        ray.shutdown()
        two.shutdown()


def engine(cluster: Any, need: Need = CPU) -> AbstractContextManager[Engine]:
    return chosen("ray", [f"address={cluster.address}"]).build(need)


@pytest.mark.parametrize("promise", PROMISES)
def test_ray_keeps(promise: str, cluster: Any, tmp_path: Path) -> None:
    PROMISES[promise](lambda: engine(cluster), tmp_path)
