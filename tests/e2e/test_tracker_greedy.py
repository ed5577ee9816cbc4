"""Clients that take all they can get of the tracker: connections, time, memory."""

import contextlib
import os
import shutil
import subprocess
import time

import pytest
from client import Content, expect
from programs import wait_until

CONNECTIONS = 1000
LATENCY_MAX_S = 5  # a slow, shared machine serves a request in that
# Words of slowhttptest, and the limit by which the tracker closes: REQUEST_DEADLINE_MS, BODY_DEADLINE_MS, and for an answer
# that is in the sockets' buffers already CONNECTION_IDLE_S.
SLOW = {
    "headers": (["-H", "-i", "1", "-x", "24"], "/v1/peers", 90),
    "body": (["-B", "-i", "1", "-x", "10", "-s", "8192", "-t", "POST", "-f", "application/json"], "/v1/peers", 30),
    "read": (["-X", "-n", "2", "-w", "10", "-y", "20", "-z", "5"], "/v1/files?limit=1000", 135),
}


def sockets_of(program):
    folder, count = f"/proc/{program.process.pid}/fd", 0
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            count += os.readlink(f"{folder}/{name}").startswith("socket:")
    return count


@contextlib.contextmanager
def slow_clients(tracker, kinds, folder, seconds):
    running = []
    try:
        for kind in kinds:
            words, path, _ = SLOW[kind]
            command = ["slowhttptest", "-c", str(CONNECTIONS), "-r", "1000", "-l", str(seconds), *words, "-u"]
            with open(folder / f"slow-{kind}.out", "wb") as out:
                running.append(subprocess.Popen([*command, tracker.url + path], stdout=out, stderr=out))
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def serve_as_before(api, rounds=30):
    """Requests of a well-behaved client; none fails, none waits long."""
    for _ in range(rounds):
        for ask in (api.heartbeat, api.peers, lambda: api.change(add=[Content(b"more", "more").record()])):
            began = time.monotonic()
            assert ask()
            assert time.monotonic() - began < LATENCY_MAX_S


@pytest.fixture
def served(start_tracker):
    """A tracker, and a client of it with files that fill a page."""
    if not shutil.which("slowhttptest"):
        pytest.skip("slowhttptest is not installed")
    tracker = start_tracker("--expire", "600")
    api = tracker.client()
    files = [{"name": f"{n:04}" + "x" * 130, "size": n + 1, "root": f"{n:064x}", "complete": True} for n in range(1000)]
    assert api.register(7001, files)["files"] == 1000
    return tracker, api


def test_a_crowd_of_slow_clients_keeps_nobody_out(served, tmp_path):
    tracker, api = served
    before = sockets_of(tracker)
    with slow_clients(tracker, SLOW, tmp_path, 60):
        wait_until(lambda: sockets_of(tracker) >= before + len(SLOW) * CONNECTIONS * 0.95)
        serve_as_before(api)
        expect(tracker.client().get("/healthz"), 200)  # also who comes anew
    wait_until(lambda: sockets_of(tracker) < before + 10)


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", SLOW)
def test_slow_clients_are_cut_off(served, tmp_path, kind):
    tracker, api = served
    before, limit_s = sockets_of(tracker), SLOW[kind][2]
    with slow_clients(tracker, [kind], tmp_path, limit_s + 100):
        wait_until(lambda: sockets_of(tracker) >= before + CONNECTIONS * 0.95)
        serve_as_before(api)

        def cut_off():
            api.heartbeat()
            return sockets_of(tracker) < before + 10

        wait_until(cut_off, limit_s + 60)
