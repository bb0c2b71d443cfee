"""A grid on a real Ray cluster of two machines, both of them here: what is lost when one goes, when a task kills, when none can begin."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'excise[cluster]'")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own

import ray  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402

from excise.jobs.bench import bench  # noqa: E402
from excise.jobs.crashes import ProcessDied  # noqa: E402
from excise.jobs.ray_cluster import on_ray  # noqa: E402
from excise.results.cell import Cell  # noqa: E402
from fateful_work import Fateful, Unready, begun  # noqa: E402


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster as `RAY_ADDRESS` names it: its head is a machine of one CPU, and takes part in the work."""
    ours = [str(Path(__file__).parent), str(Path(sys.modules["excise"].__path__[0]).parent)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([*ours, os.environ.get("PYTHONPATH", "")]))
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("EXCISE_CACHE", str(tmp_path_factory.mktemp("cache")))
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        patch.setenv("RAY_ADDRESS", cluster.address)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    """The same with a second machine of one CPU."""
    if not running.worker_nodes:
        running.add_node(num_cpus=1)
    return running


def test_a_task_that_kills_twice_has_failed(cluster: Cluster, tmp_path: Path) -> None:
    answers = on_ray(Fateful(tmp_path), ["deadly", "wrong"], 1)
    task, answer = next(answers)
    assert task == "deadly" and isinstance(answer, ProcessDied) and begun(tmp_path)["deadly"] == 2
    with pytest.raises(KeyError, match="no such task"):
        next(answers)
    with pytest.raises(RuntimeError, match=r"^an actor of the Ray cluster cannot begin: .*No module named 'excise'$"):
        list(on_ray(Unready(), ["well"], 2))
    with pytest.raises(ValueError, match="the Ray cluster has no GPU"):
        list(on_ray(Fateful(tmp_path), ["well"], 2, gpu=True))


def test_a_machine_that_goes_in_the_middle_of_a_task_loses_none(cluster: Cluster, tmp_path: Path) -> None:
    def go() -> None:
        while len(begun(tmp_path)) < 2:  # both are at one now
            time.sleep(0.05)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        while sum(node["Alive"] for node in ray.nodes()) > 1:
            time.sleep(0.05)
        (tmp_path / "go").touch()

    going = Thread(target=go, daemon=True)
    going.start()
    found = dict(on_ray(Fateful(tmp_path), ["wait a", "wait b", "well", "well too"], 2))
    going.join()
    assert found == {task: task.upper() for task in ("wait a", "wait b", "well", "well too")}
    counts = begun(tmp_path)
    assert sorted((counts["wait a"], counts["wait b"])) == [1, 2] and counts["well"] == counts["well too"] == 1
    assert ray.cluster_resources()["CPU"] == 1, "one did all that was left"


def test_a_grid_loses_no_cell_with_a_machine(cluster: Cluster, tiny_canvas: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"methods": ["uce"], "concepts": ["cat", "dog", "bird"], "model": tiny_canvas, "device": "cpu"}
    options |= {"quality": False, "information": False, "target_pictures": 3, "other_pictures": 3}

    def lose(stage: str, done: int, total: int) -> None:
        if done == 1:  # each has its next cell by now
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

    there = bench(out=tmp_path / "there", runner="ray", jobs=2, progress=lose, **options)
    here = bench(out=tmp_path / "here", **options)
    assert [cell.error for cell in there] == [None] * 3
    assert [same(cell) for cell in there] == [same(cell) for cell in here]


def same(cell: Cell) -> Cell:
    """What does not depend on where it was made."""
    return cell.model_copy(update={"seconds": None, "peak_mb": None, "jobs": None})
