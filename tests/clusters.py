"""A real Dask cluster for tests: a scheduler and workers as processes of their own, on loopback."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

from conftest import ROOT

HERE = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard")


class Cluster:
    """A scheduler and its workers; the workers are killed and started by the tests."""

    def __init__(self, folder, weights, **environment):
        self.file = folder / "scheduler.json"
        self.environment = {**os.environ, "CELLAPP_WEIGHTS": str(weights), "OMP_NUM_THREADS": "1",
                            "PYTHONPATH": str(ROOT), **environment}
        self.folder, self.workers, self.processes = folder, [], []
        self._start("dask_scheduler", *HERE, "--scheduler-file", str(self.file))
        self.address = when(lambda: self.file.exists() and json.loads(self.file.read_text())["address"])

    def worker(self, **environment) -> subprocess.Popen:
        self.workers.append(self._start("dask_worker", "--scheduler-file", str(self.file), "--no-nanny", "--nthreads",
                                        "1", "--no-dashboard", "--host", "127.0.0.1", "--local-directory",
                                        str(self.folder), **environment))
        return self.workers[-1]

    def _start(self, module, *arguments, **environment) -> subprocess.Popen:
        with open(self.folder / f"{module}-{len(self.processes)}.log", "wb") as log:
            self.processes.append(subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", *arguments], cwd=self.folder, stdout=log,
                stderr=subprocess.STDOUT, env=self.environment | environment))
        return self.processes[-1]


@contextmanager
def running(folder, weights, workers=2, **environment):
    cluster = Cluster(folder, weights, **environment)
    try:
        for _ in range(workers):
            cluster.worker()
        when(lambda: _workers(cluster.address) == workers)
        yield cluster
    finally:
        for process in cluster.processes:
            process.kill()
            process.wait()


def _workers(address) -> int:
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        return len(client.nthreads())


def when(true, seconds=90):
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, "the cluster did not start"
        time.sleep(0.1)
    return value


def kill_at_work(process):
    """Halt a worker, so that it has an image that it cannot finish, and kill it a little later."""
    os.kill(process.pid, signal.SIGSTOP)
    threading.Timer(2.0, os.kill, (process.pid, signal.SIGKILL)).start()
