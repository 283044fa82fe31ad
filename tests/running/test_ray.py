"""A real Ray cluster of two nodes on this machine: a worker and a node are killed in mid-run, and no row is missing."""

import socket
import threading
import time

import light
import pytest

import pagbench
from pagbench.errors import ContractError
from pagbench.running import ray_cluster

ray = pytest.importorskip("ray", reason="Ray is not installed: units on a cluster")
pytestmark = pytest.mark.usefixtures("short_preflight")

SMALL = light.benchmark(360)


@pytest.fixture(scope="module")
def cluster():
    """A head without cores, and two nodes with one each."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [made.add_node(num_cpus=1), made.add_node(num_cpus=1)]
    made.wait_for_nodes()
    yield made, nodes
    ray.shutdown()
    made.shutdown()


@pytest.mark.slow
def test_a_killed_worker_and_a_killed_node_cost_no_row(cluster, tmp_path):
    made, nodes = cluster
    dies = light.Dies(1, after=1)
    dies.once = tmp_path / "dead"
    networks = {"dies": dies, "a": light.Linear(2), "b": light.Linear(3)}
    folder = tmp_path / "results"

    there = []

    def kill_a_node():
        while len(list(folder.glob("*/.*.parts/*.parquet"))) < 3:
            time.sleep(0.02)
        there.append(len(list(folder.glob("*/.*.parts/*.parquet"))))
        made.remove_node(nodes[0], allow_graceful=False)

    thread = threading.Thread(target=kill_a_node, daemon=True)
    thread.start()
    options = {"benchmark": SMALL, "anchors": False, "batch_size": 32}
    found = pagbench.run(networks, results=folder, executor=f"ray:{made.address}", **options)
    thread.join(60)
    assert dies.once.exists(), "a worker was killed"
    assert there and there[0] < 3 * 12, "the node was killed while there was work to do"
    deadline = time.monotonic() + 60
    while sum(node["Alive"] for node in ray.nodes()) > 2 and time.monotonic() < deadline:
        time.sleep(0.5)
    assert sum(node["Alive"] for node in ray.nodes()) == 2, "the head and one node are left"
    dies.once = None
    alone = pagbench.run({"dies": light.Dies(1), "a": light.Linear(2), "b": light.Linear(3)}, **options)
    light.assert_same_rows(found, alone)
    assert sorted(path.name for path in folder.rglob("*.parquet")) == ["a.parquet", "b.parquet", "dies.parquet"]


def test_a_unit_that_holds_up_the_end_is_begun_twice():
    now = time.monotonic()
    begun = {"slow": ("slow unit", now - 10), "new": ("new unit", now)}
    started = []
    found = ray_cluster._twins(begun, [1.0, 1.0, 1.0], lambda unit: started.append(unit) or "twin")
    assert started == ["slow unit"] and found["twin"][0] == "slow unit"
    assert not ray_cluster._twins(begun | found, [1.0, 1.0, 1.0], started.append), "not a third time"
    assert not ray_cluster._twins(begun, [1.0], started.append), "not while half of the work is to come"


def test_a_cluster_that_is_not_there_is_one_line_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # which nobody listens on afterwards
    with pytest.raises(ContractError, match=rf"no Ray cluster at 127\.0\.0\.1:{port} \(.*\); start one") as caught:
        pagbench.run("digits/standard", results=tmp_path, executor=f"ray:127.0.0.1:{port}")
    assert "\n" not in str(caught.value)
