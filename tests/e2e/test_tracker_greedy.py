"""Clients that take all they can get of the tracker: connections, time, memory."""

import collections
import concurrent.futures
import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import time

import pytest
from client import Content, Identity, expect, expect_problem
from programs import LONG, wait_until
from raw_http import RawClient, request

CONNECTIONS = 1000
LATENCY_MAX_S = 5  # a slow, shared machine serves a request in that
LIMITS = ["--header-timeout", "20", "--body-timeout", "20", "--idle-timeout", "20"]
SLOW = {  # words of slowhttptest
    "headers": (["-H", "-i", "1", "-x", "24"], "/v1/peers"),
    "body": (["-B", "-i", "1", "-x", "10", "-s", "8192", "-t", "POST", "-f", "application/json"], "/v1/peers"),
    # An answer may take ANSWER_DEADLINE_MS, and a second for each ANSWER_RATE_MIN bytes.
    "read": (["-X", "-n", "2", "-w", "10", "-y", "20", "-z", "5"], "/v1/files?limit=1000"),
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
            words, path = SLOW[kind]
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


def serve(start_tracker, *limits):
    """A tracker, and a client of it with files that fill a page."""
    if not shutil.which("slowhttptest"):
        pytest.skip("slowhttptest is not installed")
    tracker = start_tracker("--expire", "600", *limits)
    api = tracker.client()
    files = [{"name": f"{n:04}" + "x" * 130, "size": n + 1, "root": f"{n:064x}", "complete": True} for n in range(1000)]
    assert api.register(7001, files)["files"] == 1000
    return tracker, api


def test_a_crowd_of_slow_clients_keeps_nobody_out(start_tracker, tmp_path):
    tracker, api = serve(start_tracker)
    before = sockets_of(tracker)
    with slow_clients(tracker, SLOW, tmp_path, 100):
        wait_until(lambda: sockets_of(tracker) >= before + len(SLOW) * CONNECTIONS * 0.9, 90)
        serve_as_before(api)
        expect(tracker.client().get("/healthz"), 200)  # also who comes anew
    wait_until(lambda: sockets_of(tracker) < before + 10)


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", SLOW)
def test_slow_clients_are_cut_off(start_tracker, tmp_path, kind):
    tracker, api = serve(start_tracker, *LIMITS)
    before = sockets_of(tracker)
    with slow_clients(tracker, [kind], tmp_path, 350):
        wait_until(lambda: sockets_of(tracker) >= before + CONNECTIONS / 2, 90)  # on a slow machine the first go early
        serve_as_before(api)

        def cut_off():
            api.heartbeat()
            return sockets_of(tracker) < before + 10

        wait_until(cut_off, 200)


# ---- memory ----

BODY_MAX = 256 * 1024
CROWD = 64
# Waiting bodies (BODIES_BUDGET) and waiting writes (as much again), what two threads parse (20 MiB each), SQLite's caches,
# and as much again for what the allocator does not give back.
MEMORY_MAX = 256 * 1024 * 1024


def junk_names(start, count):
    return [{"name": f"{start + n:08}/" + "j" * 100, "size": 1, "root": f"{start + n:064x}"} for n in range(count)]


def send_junk(address, identity, bodies):
    """Sends each until it is taken or refused for good; the statuses."""
    statuses = []
    with RawClient(address) as client:
        for path, body in bodies:
            data = request("POST", path, [("Authorization", "Bearer " + identity.secret.hex())], body)
            while (answer := client.ask(data))[0] == 503:
                assert answer[1][b"retry-after"]
                time.sleep(0.05)
            statuses.append(answer[0])
    return statuses


def crowd_of(tracker, bodies_of):
    """CROWD clients at once, each with bodies of its own; all statuses, and the most memory that the tracker had."""
    address, most, served = (tracker.host, tracker.port), 0, tracker.client()
    with concurrent.futures.ThreadPoolExecutor(CROWD) as pool:
        futures = [pool.submit(send_junk, address, *bodies_of(number)) for number in range(CROWD)]
        while not all(future.done() for future in futures):
            most = max(most, tracker.memory_bytes())
            expect(served.get("/healthz"), 200)
            time.sleep(0.02)
    return collections.Counter(status for future in futures for status in future.result()), most


@pytest.mark.timeout(400 if LONG else 120)
def test_the_largest_bodies_from_many_at_once_take_bounded_memory(start_tracker):
    tracker, rounds = start_tracker("--expire", "600"), 5 if LONG else 1
    bomb = b'{"more":[' + b"{}," * (BODY_MAX // 3 - 10) + b"{}]}"
    assert BODY_MAX - 100 < len(bomb) <= BODY_MAX

    def bodies_of(number):
        identity = Identity(b"%032d" % number)
        files = json.dumps({"id": identity.id, "port": 7001, "files": junk_names(1, 1000)})
        padded = files.encode() + b" " * (BODY_MAX - len(files))
        own = f"/v1/peers/{identity.id}/heartbeat"
        return identity, [("/v1/peers", padded), (own, bomb), ("/v1/peers", bomb)] * rounds

    statuses, most = crowd_of(tracker, bodies_of)
    assert statuses == {200: 2 * CROWD * rounds, 400: CROWD * rounds}
    assert most < MEMORY_MAX, f"{most / 2**20:.0f} MiB"


# ---- files ----


@pytest.fixture
def change_store(store, request):
    """change_store(statement) changes the database behind the back of its tracker, which does not run."""

    def change(statement):
        if isinstance(store, str):
            cluster, database = map(request.getfixturevalue, ("cluster", "database"))
            cluster.sql(f"SET search_path = enxame; {statement}", database)
        else:
            with contextlib.closing(sqlite3.connect(store)) as db, db:
                db.execute(statement)

    return change


@pytest.mark.both_stores
def test_a_peer_with_too_many_files_is_told_so_and_keeps_those_it_has(start_tracker, change_store):
    tracker = start_tracker("--expire", "600")
    api = tracker.client()
    api.register(7001, junk_names(1, 1000))
    tracker.stop()
    change_store("UPDATE peers SET files = 2000000 - 10")
    tracker = start_tracker("--expire", "600")
    api = tracker.client(api.identity)
    refused = api.try_change(add=junk_names(1001, 20))
    assert expect_problem(refused, 413, "2000000").endswith(":too-many-files")
    assert api.heartbeat()["files"] == 2_000_000 - 10
    assert api.change(add=junk_names(1001, 10)) == 2_000_000
    assert expect_problem(api.try_change(add=junk_names(2000, 1)), 413).endswith(":too-many-files")
    assert len(api.files(limit=1000)) == 1010
    assert api.register(7001, junk_names(1, 10))["files"] == 10  # who starts over may


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_hundred_megabytes_of_junk_names_take_bounded_memory(start_tracker):
    tracker = start_tracker("--expire", "600")
    identity = Identity()
    tracker.client(identity).register(7001)
    path, each = f"/v1/peers/{identity.id}/files", 16_000
    assert each * CROWD * 109 > 100_000_000

    def bodies_of(number):
        starts = range(number * each + 1, (number + 1) * each, 1000)
        return identity, [(path, json.dumps({"add": junk_names(start, 1000)}).encode()) for start in starts]

    statuses, most = crowd_of(tracker, bodies_of)
    assert statuses == {200: CROWD * each // 1000}
    assert tracker.client(identity).heartbeat()["files"] == CROWD * each
    assert most < MEMORY_MAX, f"{most / 2**20:.0f} MiB"
