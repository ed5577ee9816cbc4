"""The tracker's life: starts, ends, restarts, expiry, and databases that it must not use."""

import contextlib
import email.utils
import os
import pathlib
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import time

import client
import programs
import pytest
import requests
from client import Content, expect
from ledger import Ledger
from programs import need_strace, wait_until


def run_tracker(*arguments, cwd, wrapper=()):
    """A run that must end by itself."""
    done = subprocess.run(
        [*wrapper, programs.BIN / "tracker", *programs.QUIET, *map(str, arguments)], cwd=cwd, env=programs.environment(cwd),
        capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    err = done.stderr.decode()
    programs.check_sanitizers(err, done.returncode, "tracker")
    return done.returncode, err


def refused(tmp_path, db, *words):
    """The tracker does not start on `db`, and says why."""
    status, err = run_tracker("--listen", "127.0.0.1:0", "--db", db, cwd=tmp_path)
    assert status == 1, err
    for word in words:
        assert word in err
    return err


# ---- the command line ----


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--listen", "nowhere:1"], "--listen"),
        (["--listen", "127.0.0.1:70000"], "--listen"),
        (["--listen", "127.0.0.1"], "--listen"),
        (["--heartbeat", "0"], "--heartbeat"),
        (["--heartbeat", "1e3"], "--heartbeat"),
        (["--heartbeat", "5", "--expire", "5"], "--expire"),
        (["--expire", "-1"], "--expire"),
        (["--log-format", "xml"], "--log-format"),
        (["--db", ""], "--db"),
        (["--nonsense"], "nonsense"),
        (["--max-connections", "0"], "--max-connections"),
        (["--max-connections-per-address", "many"], "--max-connections-per-address"),
        (["--idle-timeout", "0"], "--idle-timeout"),
        (["--header-timeout", "4000"], "--header-timeout"),
        (["--body-timeout", "-1"], "--body-timeout"),
        (["serve"], "serve"),
        (["backup"], "tracker backup FILE"),
        (["backup", "x", "y"], "tracker backup FILE"),
        (["check", "x"], "tracker check"),
    ],
)
def test_usage_errors_exit_with_2(tmp_path, arguments, word):
    status, err = run_tracker(*arguments, cwd=tmp_path)
    assert status == 2 and word in err
    assert not list(tmp_path.iterdir())


def test_help_and_version_exit_with_0(tmp_path):
    assert run_tracker("--help", cwd=tmp_path) == (0, "")
    assert run_tracker("--version", cwd=tmp_path) == (0, "")


def test_a_taken_port_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, err = run_tracker("--listen", f"127.0.0.1:{port}", cwd=tmp_path)
    assert status == 1 and str(port) in err


# ---- how its threads take turns ----


def policies(tracker):
    """Of the main thread first, then of the others."""
    found = []
    for thread in sorted(map(int, os.listdir(f"/proc/{tracker.process.pid}/task"))):
        with contextlib.suppress(ProcessLookupError):  # the one that reads the database ahead ends
            found.append(os.sched_getscheduler(thread))
    return found


def test_threads_that_are_woken_let_others_finish_first(start_tracker):
    main, *others = policies(start_tracker())
    assert main == os.SCHED_BATCH
    # A sanitizer has a thread of its own, which is older than main().
    assert sum(policy != os.SCHED_BATCH for policy in others) <= 1 < len(others)


def test_the_writer_lets_others_go_first_after_each_batch(start_tracker, tmp_path):
    need_strace(tmp_path)
    trace = tmp_path / "trace"
    tracker = start_tracker(wrapper=["strace", "-D", "-f", "-e", "trace=sched_yield", "-o", trace])
    api = tracker.client()
    api.register(7001)
    for _ in range(9):
        api.heartbeat()
    wait_until(lambda: trace.read_text().count("sched_yield()") >= 10)


@pytest.mark.skipif(not shutil.which("chrt"), reason="needs chrt")
def test_a_policy_that_was_chosen_for_it_stays(start_tracker):
    assert set(policies(start_tracker(wrapper=["chrt", "--idle", "0"]))) == {os.SCHED_IDLE}


# ---- databases ----


def test_a_second_tracker_on_the_database_is_refused_by_whatever_path(start_tracker, tmp_path):
    (tmp_path / "link.db").symlink_to("tracker.db")
    (tmp_path / "folder").symlink_to(tmp_path)
    tracker = start_tracker(db=tmp_path / "link.db")
    for path in (tmp_path / "tracker.db", "tracker.db", "folder/tracker.db", "link.db", f"folder/../{tmp_path.name}/link.db"):
        refused(tmp_path, path, "in use by another tracker")
    (tmp_path / "other.db").hardlink_to(tmp_path / "tracker.db")
    refused(tmp_path, "other.db", "hard links")
    api = tracker.client()
    api.register(7001)
    tracker.kill()
    # The log lies beside the other name: whoever does not see it sees an older database.
    refused(tmp_path, "other.db", "hard links")
    (tmp_path / "other.db").unlink()
    assert start_tracker().client().peer_ids() == {api.identity.id}


def test_a_database_of_a_newer_schema_is_refused_and_left_alone(start_tracker, tmp_path):
    start_tracker().stop()
    with sqlite3.connect(tmp_path / "tracker.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    before = (tmp_path / "tracker.db").read_bytes()
    refused(tmp_path, tmp_path / "tracker.db", "schema version 99", "newer tracker")
    assert (tmp_path / "tracker.db").read_bytes() == before


def test_the_database_of_another_program_is_refused_and_left_alone(tmp_path):
    with sqlite3.connect(tmp_path / "other.db") as db:
        db.execute("CREATE TABLE precious (value)")
    db.close()
    before = (tmp_path / "other.db").read_bytes()
    refused(tmp_path, tmp_path / "other.db", "another program")
    assert (tmp_path / "other.db").read_bytes() == before


def test_files_that_are_no_database_are_refused(tmp_path):
    (tmp_path / "text.db").write_text("this is not a database, but long enough to look like a file\n" * 100)
    refused(tmp_path, tmp_path / "text.db", "text.db", "not a database")
    (tmp_path / "folder.db").mkdir()
    refused(tmp_path, tmp_path / "folder.db", "not a file")
    refused(tmp_path, tmp_path / "missing" / "tracker.db", "does not exist")


def test_a_damaged_database_is_refused(start_tracker, tmp_path):
    tracker = start_tracker()
    tracker.client().register(7001, [Content(str(n).encode(), str(n)).record() for n in range(300)])
    tracker.stop()
    path = tmp_path / "tracker.db"
    data = bytearray(path.read_bytes())
    data[4096 * 4 : 4096 * 12] = os.urandom(4096 * 8)
    path.write_bytes(data)
    refused(tmp_path, path, "tracker.db", "damaged")
    path.write_bytes(data[: 4096 * 3 + 100])
    refused(tmp_path, path, "tracker.db")


@pytest.mark.parametrize("folder_mode", [0o555, 0o755])
def test_a_database_that_cannot_be_written_is_refused(start_tracker, tmp_path, folder_mode):
    start_tracker().stop()
    folder = tmp_path / "readonly"
    folder.mkdir()
    shutil.copy(tmp_path / "tracker.db", folder)
    (folder / "tracker.db").chmod(0o444)
    folder.chmod(folder_mode)
    status, err = run_tracker(
        "--listen", "127.0.0.1:0", "--db", folder / "tracker.db", cwd=tmp_path, wrapper=programs.without_rights()
    )
    folder.chmod(0o755)
    assert status == 1, err
    assert "tracker.db" in err and ("permission" in err or "read-only" in err), err


def test_names_that_sqlite_takes_for_something_else_are_files(start_tracker, tmp_path):
    start_tracker(db=":memory:").stop()
    assert (tmp_path / ":memory:").exists()


def bytes_read(tracker):
    """Whether they came from the disk or not."""
    return int(re.search(r"^rchar: (\d+)$", pathlib.Path(f"/proc/{tracker.process.pid}/io").read_text(), re.MULTILINE)[1])


def locks(tracker, path):
    """Of its process on the file."""
    inode = os.stat(path).st_ino
    fields = [line.split()[1:] for line in pathlib.Path("/proc/locks").read_text().splitlines()]
    return [one for one in fields if str(tracker.process.pid) in one and any(word.endswith(f":{inode}") for word in one)]


def test_a_large_database_is_read_into_memory_at_the_start_and_stays_locked(start_tracker, tmp_path):
    path = tmp_path / "tracker.db"
    start_tracker().stop()
    with contextlib.closing(sqlite3.connect(path)) as db, db:  # larger than those that a start checks
        db.execute("CREATE TABLE filler (bytes BLOB)")
        db.execute("INSERT INTO filler VALUES (zeroblob(70 << 20))")
    tracker = start_tracker()
    before = locks(tracker, path)
    assert before
    wait_until(lambda: bytes_read(tracker) >= path.stat().st_size)
    # What SQLite holds would be gone with any descriptor of the file.
    assert sorted(locks(tracker, path)) == sorted(before)
    assert tracker.client().peers() == []


def test_an_empty_file_becomes_a_database(start_tracker, tmp_path):
    (tmp_path / "tracker.db").touch()
    start_tracker().client().register(7001)


# ---- expiry ----


@pytest.mark.both_stores
def test_silent_peers_lapse_with_what_only_they_held(start_tracker):
    expire_s = 4  # whoever is alive must be able to show it on a slow machine, too
    tracker = start_tracker("--heartbeat", "1", "--expire", str(expire_s))
    silent, alive = tracker.client(), tracker.client()
    only, both = Content(b"only", "only"), Content(b"both", "both")
    alive.register(7001, [both.record()])
    registered = time.monotonic()
    silent.register(7002, [only.record(), both.record("another name")])
    while alive.heartbeat() and (rows := alive.peers()) and time.monotonic() - registered < expire_s:
        assert len(rows) == 2
        time.sleep(0.1)

    def lapsed():
        alive.heartbeat()
        return len(alive.peers()) == 1

    wait_until(lapsed)
    assert [(row["name"], row["holders"]) for row in alive.files()] == [("both", 1)]
    assert alive.owners(only.root) is None
    assert alive.holder_ids(both) == {alive.identity.id}
    assert alive.owners(both.root)["names"] == ["both"]
    client.expect_problem(silent.try_heartbeat(), 404)
    assert silent.register(7002, [only.record()])["files"] == 1
    assert len(alive.files()) == 2


@pytest.mark.both_stores
def test_a_restart_gives_every_registration_a_full_expiry(start_tracker):
    first = start_tracker("--heartbeat", "1", "--expire", "3")
    peer = first.client()
    peer.register(7001, [Content(b"x", "x").record()])
    time.sleep(1)
    first.stop()  # long before it lapses, also on a slow machine
    time.sleep(3)
    started = time.monotonic()
    second = start_tracker("--heartbeat", "1", "--expire", "3")
    peer = second.client(peer.identity)
    rows = peer.peers() + peer.files()
    while time.monotonic() - started < 3:
        assert len(rows) == 2
        time.sleep(0.1)
        rows = peer.peers() + peer.files()
    wait_until(lambda: not peer.peers())
    assert peer.files() == []


class WallClock:
    """A wall clock that jumps (libfaketime); the clocks that count from the start of the machine go on."""

    def __init__(self, folder):
        self.path = folder / "wall-clock"
        libraries = sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not libraries:
            pytest.skip("libfaketime is not installed")
        self.jump("+0")
        self.wrapper = [
            "env", f"LD_PRELOAD={libraries[0]}", f"FAKETIME_TIMESTAMP_FILE={self.path}", "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
        ]  # fmt: skip

    def jump(self, by):
        # At once: the tracker may read it at any moment.
        self.path.with_suffix(".new").write_text(by + "\n")
        self.path.with_suffix(".new").replace(self.path)

    @staticmethod
    def shown_by(api):
        return email.utils.parsedate_to_datetime(api.get("/healthz").headers["Date"]).timestamp()


@pytest.fixture
def clock(launcher, tmp_path):
    yield WallClock(tmp_path)
    for program in launcher.started:  # what the library leaves behind of those that are killed
        for path in pathlib.Path("/dev/shm").glob(f"*faketime_*_{program.process.pid}"):
            path.unlink()


@pytest.mark.both_stores
def test_a_wall_clock_that_jumps_lets_nobody_lapse_and_nobody_stay(start_tracker, clock):
    tracker = start_tracker("--heartbeat", "30", "--expire", "60", wrapper=clock.wrapper)
    api = tracker.client()
    api.register(7001, [Content(b"x", "x").record()])
    for by, days in (("+1d", 1), ("-400d", -400)):
        clock.jump(by)
        wait_until(lambda days=days: abs(clock.shown_by(api) - time.time() - days * 86400) < 3600)
        time.sleep(1.2)  # two sweeps
        assert len(api.peers()) == 1 and len(api.files()) == 1
        assert api.peers()[0]["age_ms"] < 60_000
        assert api.heartbeat()["files"] == 1
    tracker.kill()
    clock.jump("+400d")
    again = start_tracker("--heartbeat", "1", "--expire", "3", wrapper=clock.wrapper)
    api = again.client(api.identity)
    assert len(api.peers()) == 1
    clock.jump("-800d")
    wait_until(lambda: not api.peers(), 60)


@pytest.mark.both_stores
def test_the_lamport_clock_does_not_go_back_at_a_restart(start_tracker):
    first = start_tracker()
    peer = first.client()
    first_clock = int(peer.get("/v1/peers", headers={"Lamport-Clock": "5000"}).headers["Lamport-Clock"])
    assert first_clock > 5000
    first.stop()
    second = start_tracker()
    assert int(requests.get(second.url + "/v1/peers", timeout=10).headers["Lamport-Clock"]) > first_clock
    peer = second.client()
    peer.get("/v1/peers", headers={"Lamport-Clock": "9000"})
    peer.register(7001)
    second.kill()
    answer = requests.get(start_tracker().url + "/v1/peers", timeout=10)
    assert int(answer.headers["Lamport-Clock"]) > 9000


# ---- ends ----


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_closes_the_database(start_tracker, tmp_path, number):
    tracker = start_tracker()
    tracker.client().register(7001)
    tracker.stop(number)
    assert (tmp_path / "tracker.db-wal").stat().st_size == 0
    db = sqlite3.connect(tmp_path / "tracker.db")
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert db.execute("SELECT count(*) FROM peers").fetchone() == (1,)
    db.close()


@pytest.mark.sanitized
@pytest.mark.both_stores
def test_sigterm_under_load_answers_what_is_under_way(start_tracker):
    tracker, ledger = start_tracker("--expire", "600"), Ledger()
    ledger.start(tracker)
    wait_until(lambda: ledger.acknowledged > 50)
    tracker.stop()
    ledger.stop()
    ledger.check(start_tracker("--expire", "600").client())
