"""`tracker migrate FROM TO`: from a file to PostgreSQL, back, and to another file."""

import fcntl
import os
import signal
import sqlite3
import struct
import subprocess
import termios

import programs
import pytest
from client import Content
from programs import wait_until

FILES = [Content(str(n).encode() * 50, f"Ordner/{n} é.bin").record() for n in range(1500)]


def migrate(source, target, cwd, status=0):
    """What it said on both outputs."""
    done = subprocess.run(
        [programs.BIN / "tracker", "migrate", source, target], cwd=cwd, env=programs.environment(cwd),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    programs.check_sanitizers(done.stderr, done.returncode, "tracker")
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def add_all(client, files):
    for first in range(0, len(files), 500):
        client.change(add=files[first : first + 500])


def peers_of(tracker):
    return sorted((peer["id"], peer["host"], peer["port"], peer["files"]) for peer in tracker.client().peers())


def files_of(tracker):
    return sorted((row["name"], row["size"], row["root"], row["holders"]) for row in tracker.client().files())


def id_and_clock(tracker):
    client = tracker.client()
    return client.get("/healthz").json()["id"], client.clock.value


def fill(tracker):
    """Three peers, of whom one has more files than one request holds, and two share some."""
    clients = [tracker.client() for _ in range(3)]
    clients[0].register(7001, [], "127.0.0.1", instance="ab" * 16)
    add_all(clients[0], FILES)
    clients[1].register(7002, [{**file, "complete": False} for file in FILES[:10]], "127.0.0.1")
    clients[2].register(7003, [], "127.0.0.1")
    return clients


def test_a_store_moves_to_postgresql_and_back_with_all_that_it_has(start_tracker, cluster, database, tmp_path):
    uri, copy = cluster.uri(database), tmp_path / "copy.db"
    old = start_tracker("--expire", "600", db=tmp_path / "old.db")
    clients = fill(old)
    peers, files, (identity, clock) = peers_of(old), files_of(old), id_and_clock(old)
    assert "in use" in migrate(tmp_path / "old.db", uri, tmp_path, status=1)
    old.stop()

    said = migrate(tmp_path / "old.db", uri, tmp_path)
    assert f"copied 3 of 3 peers, {len(FILES) + 10} of {len(FILES) + 10} files held" in said
    assert "registrations already" in migrate(tmp_path / "old.db", uri, tmp_path, status=1)
    new = start_tracker("--expire", "600", db=uri)
    assert (peers_of(new), files_of(new), id_and_clock(new)[0]) == (peers, files, identity)
    assert id_and_clock(new)[1] > clock
    new.stop()

    migrate(uri, copy, tmp_path)
    assert not list(tmp_path.glob("copy.db.part*"))
    again = start_tracker("--expire", "600", db=copy)
    assert (peers_of(again), files_of(again), id_and_clock(again)[0]) == (peers, files, identity)
    # The instance came along: another one at another address is not believed.
    elsewhere = again.client(clients[0].identity)
    assert elsewhere.try_register(7009, [], "127.0.0.1", instance="cd" * 16).status_code == 409
    again.stop()
    assert "is there already" in migrate(uri, copy, tmp_path, status=1)


@pytest.fixture
def source(start_tracker, tmp_path):
    """A database that takes several transactions to copy."""
    tracker = start_tracker("--expire", "600", db=tmp_path / "old.db")
    for number in range(30):
        tracker.client().register(7001 + number, FILES[:1000], "127.0.0.1")
    tracker.stop()
    return tmp_path / "old.db"


def waiting_bytes(pipe):
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]


def interrupt(source, target, cwd):
    """In the middle, however slow we are: it cannot say that all is copied, as there is room for one line of it only."""
    reader, writer = os.pipe()
    with open(reader) as said:
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1)  # as small as can be
        filled = os.write(writer, b" " * (fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ) - 80))
        migration = subprocess.Popen(
            [programs.BIN / "tracker", "migrate", source, target], cwd=cwd, env=programs.environment(cwd), stderr=writer
        )
        os.close(writer)
        wait_until(lambda: waiting_bytes(reader) > filled)
        migration.send_signal(signal.SIGTERM)
        text = said.read()
        assert migration.wait(60) == 1 and "of 30 peers" in text and "stopped before all was copied" in text


def test_what_was_not_copied_whole_is_no_tracker_s_database(source, start_tracker, cluster, database, tmp_path):
    interrupt(source, tmp_path / "new.db", tmp_path)
    assert sorted(path.name for path in tmp_path.glob("new.db*")) == []
    uri = cluster.uri(database)
    interrupt(source, uri, tmp_path)
    for words in (["--db", uri, "--listen", "127.0.0.1:0"], ["migrate", source, uri]):
        done = subprocess.run([programs.BIN / "tracker", *words], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1 and "DROP SCHEMA enxame CASCADE" in done.stderr
    cluster.sql("DROP SCHEMA enxame CASCADE", database)
    migrate(source, uri, tmp_path)
    assert len(start_tracker("--expire", "600", db=uri).client().peers()) == 30


@pytest.mark.parametrize(
    ("source", "word"), [("nothing.db", "there is no database"), ("postgresql://127.0.0.1:1/x?password=geheim", "127.0.0.1:1/x")]
)
def test_a_source_that_is_not_there_is_named_and_nothing_is_made(source, word, tmp_path):
    said = migrate(source, "new.db", tmp_path, status=1)
    assert word in said and "geheim" not in said
    assert not list(tmp_path.iterdir())


def test_an_empty_database_of_postgresql_is_no_source(cluster, database, tmp_path):
    assert "nothing of a tracker" in migrate(cluster.uri(database), "new.db", tmp_path, status=1)
    assert cluster.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'enxame'", database) == "0"


def test_a_file_is_copied_into_another_and_is_sound(source, tmp_path):
    migrate(source, tmp_path / "new.db", tmp_path)
    for path in (source, tmp_path / "new.db"):
        done = subprocess.run([programs.BIN / "tracker", "check", "--db", path], capture_output=True, text=True, check=True)
        assert "sound" in done.stdout
    counts = [
        sqlite3.connect(path).execute("SELECT count(*) FROM holdings").fetchone() for path in (source, tmp_path / "new.db")
    ]
    assert counts == [(30000,)] * 2
