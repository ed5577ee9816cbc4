"""A tracker whose disk is full: who asks is answered, who writes is told, nobody lapses, and it recovers by itself."""

import contextlib
import resource
import sqlite3
import subprocess
import time

import programs
import pytest
from client import expect, expect_problem
from ledger import record
from programs import TrackerProgram, wait_until

MIB = 1024 * 1024
EXPIRE_S = 4


def many(api, start, count=1000):
    return [record(f"{api.identity.id[:8]} {number:06} " + "n" * 60) for number in range(start, start + count)]


def expect_full(answer):
    assert expect_problem(answer, 507, "disk is full").endswith(":store-full")


def check_integrity(path):
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def stored_clock(path):
    """What a start after SIGKILL would go on from."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT value FROM clock").fetchone()[0]


def shown_clock(api):
    return int(api.get("/healthz").headers["Lamport-Clock"])


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
        # The log could begin anew where the database had room for what is in it.
        size = max(path.stat().st_size for path in self.folder.glob("*.db"))
        resource.prlimit(tracker.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def give_room(self, tracker):
        resource.prlimit(tracker.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.fixture(params=[pytest.param("disk", marks=pytest.mark.needs_root), "limit"])
def room(request, tmp_path):
    """Where a tracker keeps its database, and what takes the room there."""
    if request.param == "disk":
        return SmallDisk(request.getfixturevalue("small_disk")(8 * MIB))
    return SmallFiles(tmp_path)


def is_full(answer):
    """Whether it was refused for want of room; otherwise it was taken."""
    if answer.status_code == 200:
        return False
    expect_full(answer)
    return True


def outlast_a_full_disk(start_tracker, room, db):
    """False where the machine stood still so long meanwhile that peers might have lapsed for that reason."""
    tracker = start_tracker("--heartbeat", "1", "--expire", str(EXPIRE_S), db=room.folder / db)
    first, second, stranger = (tracker.client() for _ in range(3))
    both = {first.identity.id, second.identity.id}
    last = began = time.monotonic()

    def beat():
        nonlocal last
        for one in (first, second):
            is_full(one.try_heartbeat())  # the log may have some room of its own
        last = time.monotonic()
        return last

    try:
        first.register(7001, many(first, 0, 3))
        second.register(7002, many(second, 0, 3))
        room.take_room(tracker)
        rounds = 0
        while last - began < 1.5 * EXPIRE_S or rounds < 30:
            rounds += 1
            beat()
            assert is_full(stranger.try_register(7003, many(stranger, 0)))
            assert first.peer_ids() == both
            assert len(first.files()) == 6 and first.owners(many(first, 0, 1)[0]["root"])
            for _ in range(50):  # more than the clock has stored ahead
                expect(first.get("/healthz"), 200)
        room.give_room(tracker)
        wait_until(lambda: beat() and not is_full(stranger.try_register(7003, many(stranger, 0))))
        assert first.heartbeat()["files"] == second.heartbeat()["files"] == 3
        assert first.peer_ids() == both | {stranger.identity.id}
        wait_until(lambda: stored_clock(room.folder / db) >= shown_clock(first))
    except AssertionError:
        if time.monotonic() - last < EXPIRE_S - 1:
            raise
        return False
    finally:
        tracker.kill()
    check_integrity(room.folder / db)
    assert 1 <= tracker.err().count("cannot be written") <= 3, tracker.err()  # not for each request
    return True


def test_a_full_disk_refuses_writes_answers_reads_and_lets_nobody_lapse(start_tracker, room):
    assert any(outlast_a_full_disk(start_tracker, room, f"{number}.db") for number in range(3))


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
    # Starts on the full disk, after a kill and after an end: what is there is served, and nothing more is taken.
    for ends in (TrackerProgram.stop, TrackerProgram.kill):
        SmallDisk(disk).take_room(None)
        tracker = start_tracker("--expire", "600", db=disk / "tracker.db")
        again = tracker.client(api.identity)
        assert len(again.files(limit=1000)) == held == again.peers()[0]["files"]
        expect_full(again.try_change(add=many(api, held)))
        ends(tracker)
    subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
    tracker = start_tracker("--expire", "600", db=disk / "tracker.db")
    again = tracker.client(api.identity)
    assert len(again.files(limit=1000)) == held == again.peers()[0]["files"]
    assert again.change(add=many(api, held)) == held + 1000
    tracker.stop()
    check_integrity(disk / "tracker.db")


@pytest.mark.needs_root
def test_a_start_on_a_disk_that_is_full_serves_what_is_there_and_lets_nobody_lapse(start_tracker, small_disk):
    disk = small_disk(2 * MIB)
    room = SmallDisk(disk)
    tracker = start_tracker("--expire", "600", db=disk / "tracker.db")
    api = tracker.client()
    api.register(7001, many(api, 0, 3))
    tracker.stop()
    room.take_room(tracker)
    tracker = start_tracker("--heartbeat", "1", "--expire", "3", db=disk / "tracker.db")
    assert f"the disk of the database {disk / 'tracker.db'} is full" in tracker.err()
    again, stranger, began = tracker.client(api.identity), tracker.client(), time.monotonic()
    while time.monotonic() - began < 4:
        assert len(again.files()) == 3 and again.peer_ids() == {api.identity.id}
        expect_full(stranger.try_register(7002, many(stranger, 0)))
    room.give_room(tracker)
    wait_until(lambda: again.try_heartbeat().status_code == 200)
    assert len(again.files()) == 3
    tracker.stop()
    # Nothing is there yet, and no room to make it.
    room.take_room(tracker)
    words = [programs.BIN / "tracker", "--listen", "127.0.0.1:0", "--no-discover", "--db", disk / "new.db"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "the disk is full" in done.stderr and "free some room" in done.stderr
