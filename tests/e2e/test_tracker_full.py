"""A tracker whose disk is full: who asks is answered, who writes is told, nobody lapses, and it recovers by itself."""

import contextlib
import resource
import sqlite3
import subprocess
import time

import pytest
from client import expect, expect_problem
from ledger import record
from programs import Program, wait_until

MIB = 1024 * 1024


def many(api, start, count=1000):
    return [record(f"{api.identity.id[:8]} {number:06} " + "n" * 60) for number in range(start, start + count)]


def expect_full(answer):
    assert expect_problem(answer, 507, "disk is full").endswith(":store-full")


def check_integrity(path):
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


class SmallDisk:
    """A file system on which a file takes all the room that is left."""

    def __init__(self, folder):
        self.folder = folder

    def take_room(self, tracker):
        with contextlib.suppress(OSError), open(self.folder / "ballast", "ab", buffering=0) as ballast:
            while True:
                ballast.write(bytes(4096))

    def give_room(self, tracker):
        (self.folder / "ballast").unlink()


class SmallFiles:
    """A limit on the size of the tracker's files, which is how a quota feels."""

    def __init__(self, folder):
        self.folder = folder

    def take_room(self, tracker):
        log = (self.folder / "tracker.db-wal").stat().st_size
        resource.prlimit(tracker.process.pid, resource.RLIMIT_FSIZE, (log, resource.RLIM_INFINITY))

    def give_room(self, tracker):
        resource.prlimit(tracker.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.fixture(params=[pytest.param("disk", marks=pytest.mark.needs_root), "limit"])
def store(request, tmp_path):
    """Where a tracker keeps its database, and what takes the room there."""
    if request.param == "disk":
        return SmallDisk(request.getfixturevalue("small_disk")(4 * MIB))
    return SmallFiles(tmp_path)


def test_a_full_disk_refuses_writes_answers_reads_and_lets_nobody_lapse(start_tracker, store):
    tracker = start_tracker("--heartbeat", "1", "--expire", "2", db=store.folder / "tracker.db")
    first, second, stranger = (tracker.client() for _ in range(3))
    both = {first.identity.id, second.identity.id}
    first.register(7001, many(first, 0, 3))
    second.register(7002, many(second, 0, 3))
    store.take_room(tracker)
    full, rounds = time.monotonic(), 0
    while time.monotonic() - full < 3 or rounds < 30:
        rounds += 1
        for one in (first, second):  # the log may have some room of its own
            assert (answer := one.try_heartbeat()).status_code == 200 or expect_full(answer) is None
        expect_full(stranger.try_register(7003, many(stranger, 0)))
        assert first.peer_ids() == both
        assert len(first.files()) == 6 and first.owners(many(first, 0, 1)[0]["root"])
        for _ in range(50):  # more than the clock has stored ahead
            expect(first.get("/healthz"), 200)
    store.give_room(tracker)

    def recovered():
        for one in (first, second):
            one.try_heartbeat()
        return (answer := stranger.try_register(7003, many(stranger, 0))).status_code == 200 or expect_full(answer)

    wait_until(recovered)
    assert first.heartbeat()["files"] == second.heartbeat()["files"] == 3
    assert first.peer_ids() == both | {stranger.identity.id}

    def lapsed():  # time goes on
        first.heartbeat()
        return first.peer_ids() == {first.identity.id}

    wait_until(lapsed)
    tracker.kill()
    check_integrity(store.folder / "tracker.db")
    assert 1 <= tracker.err().count("cannot be written") <= 3, tracker.err()  # not for each request


def grow_until_full(api):
    """Adds files until the disk takes no more; how many the tracker has then."""
    held = 0
    while (answer := api.try_change(add=many(api, held, 500))).status_code == 200:
        held = answer.json()["files"]
    expect_full(answer)
    return held


@pytest.mark.needs_root
def test_a_log_that_finds_no_room_in_the_database_is_kept_and_goes_there_later(start_tracker, small_disk):
    """The log and the database share a disk that they fill together: what is in the log may not be lost."""
    disk = small_disk(6 * MIB)
    tracker = start_tracker("--expire", "600", db=disk / "tracker.db")
    api = tracker.client()
    api.register(7001)
    held = grow_until_full(api)
    assert held > 500 and len(api.files(limit=1000)) == held
    tracker.kill()
    # A start on the full disk: it serves, or says why not, and does no harm.
    for _ in range(2):
        try:
            Program("again", tracker.arguments, disk.parent, r"^tracker listening on (\S+)").kill()
        except AssertionError:
            assert "full" in (disk.parent / "again.err").read_text()
    subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
    tracker = start_tracker("--expire", "600", db=disk / "tracker.db")
    again = tracker.client(api.identity)
    assert len(again.files(limit=1000)) == held == again.peers()[0]["files"]
    assert again.change(add=many(api, held)) == held + 1000
    tracker.stop()
    check_integrity(disk / "tracker.db")
