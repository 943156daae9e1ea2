"""A plan on Ray: two workers of a cluster give the tables of one process, byte for byte, and may be killed."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hasten.cli import main
from hasten.errors import InputError

LINE = "plan llama-3.1-8b --rate 30 --limit 600 --ttft 1s --tpot 50ms --devices h100-sxm,l40s --tp 1,2"
COMMAND = [sys.executable, "-m", "hasten", *LINE.split()]
has_ray = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not has_ray, reason="needs Ray: pip install 'hasten[ray]'")
on_ray = [needs_ray, pytest.mark.slow]


def test_without_ray_the_option_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([*LINE.split(), "--ray", "auto"]) == 2
    assert capsys.readouterr().err == "hasten: --ray needs Ray: pip install 'hasten[ray]'\n"


def test_an_address_where_nobody_answers_is_refused_at_once():
    from hasten.plan import ray_cluster

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # not listening
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"--ray 127.0.0.1:{port}: nobody answers there"):
            ray_cluster._check_reachable(f"127.0.0.1:{port}")


@needs_ray
def test_a_plan_without_the_option_does_not_import_ray():
    script = (
        "import sys; from hasten.cli import main\n"
        f"main({[*LINE.split(), '--json']!r}); sys.exit('ray' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def cluster():
    """A head without CPUs and two nodes with one each, as processes of this machine."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    node = {"object_store_memory": 100_000_000}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **node})
    for _ in range(2):
        made.add_node(num_cpus=1, **node)
    yield made.address
    made.shutdown()


class TestCluster:
    """The same cluster for all."""

    pytestmark = on_ray

    def test_two_ray_workers_print_the_same_bytes(self, cluster):
        for flags in ([], ["--json"]):
            here, there = (
                subprocess.run([*COMMAND, *flags, *more], capture_output=True, check=True, timeout=120)
                for more in ([], ["--ray", cluster])
            )
            assert there.stdout == here.stdout
            assert b"weigh 1 x [l40s tp1]: holds" in there.stderr

    def test_a_policy_from_a_file_goes_along(self, cluster, tmp_path):
        path = tmp_path / "mine.py"
        path.write_text(
            "from hasten import SchedulingPolicy\n\n"
            "class Mine(SchedulingPolicy):\n"
            "    '''Latest first.'''\n\n"
            "    def rank(self, request, view):\n        return -request.arrival\n"
        )
        flags = ["--schedule", str(path), "--json"]
        here, there = (
            subprocess.run([*COMMAND, *flags, *more], capture_output=True, check=True, timeout=120)
            for more in ([], ["--ray", cluster])
        )
        assert there.stdout == here.stdout

    def test_killed_ray_workers_and_a_killed_driver_lose_nothing(self, cluster, tmp_path):
        path = tmp_path / "plan.jsonl"
        kept = [*COMMAND, "--json", "--ray", cluster, "--journal", str(path)]
        driver = subprocess.Popen(kept, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        struck = set()
        for wanted in (2, 4):  # two workers while they work, then the driver
            _wait_for(path, wanted)
            struck |= _kill_one()
        _wait_for(path, 6)
        driver.kill()
        driver.wait(timeout=30)
        whole = path.read_bytes()
        whole = whole[: whole.rfind(b"\n") + 1]
        resumed, fresh = (
            subprocess.run(each, capture_output=True, check=True, timeout=120)
            for each in (kept, [*COMMAND, "--json"])
        )
        assert struck
        assert resumed.stdout == fresh.stdout
        assert path.read_bytes().startswith(whole)


def _wait_for(path, lines):
    began = time.monotonic()
    while not path.exists() or path.read_bytes().count(b"\n") <= lines:
        assert time.monotonic() - began < 60, "no result in a minute"
        time.sleep(0.005)


def _kill_one():
    """Kill a process that runs tasks for Ray, a descendant of this one."""
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        try:
            is_worker = (folder / "cmdline").read_bytes().startswith(b"ray::run")
            if is_worker and os.getpid() in _ancestors(pid):
                os.kill(pid, signal.SIGKILL)
                return {pid}
        except (OSError, IndexError):  # it has ended
            continue
    return set()


def _ancestors(pid):
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        yield pid
