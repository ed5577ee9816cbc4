"""What an administrator does beside a tracker that serves: backups, checks, schemas old and new."""

import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess

import programs
import pytest
from client import Content, Identity
from ledger import Ledger
from programs import need_strace, wait_until

FILES = [Content(str(n).encode() * 50, f"folder/{n}.bin").record() for n in range(300)]


def run(*words, cwd, status=0, wrapper=()):
    """Runs the tracker to its end; what it said on both outputs."""
    done = subprocess.run(
        [*wrapper, programs.BIN / "tracker", *map(str, words)], cwd=cwd, env=programs.environment(cwd),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    programs.check_sanitizers(done.stderr, done.returncode, "tracker")
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def check(path, cwd, status=0):
    """The lines of `tracker check`, as name and value."""
    text = run("check", "--db", path, cwd=cwd, status=status)
    return dict(line.split(maxsplit=1) for line in text.splitlines() if " " in line), text


def rows(path, sql):
    db = sqlite3.connect(path)
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def change(path, sql):
    db = sqlite3.connect(path)
    with db:
        db.execute(sql)
    db.close()


# ---- backup ----


@pytest.mark.sanitized
def test_a_backup_under_load_is_consistent_and_has_what_was_acknowledged(start_tracker, tmp_path):
    tracker, ledger = start_tracker("--expire", "600"), Ledger()
    keeper = tracker.client()
    keeper.register(7001, FILES)
    ledger.start(tracker)
    try:
        for n in range(3):
            before = ledger.acknowledged
            wait_until(lambda before=before: ledger.acknowledged > before + 20)
            run("backup", f"copy{n}.db", cwd=tmp_path)
    finally:
        ledger.stop()
    keeper.unregister()
    tracker.stop()
    for n in range(3):
        lines, text = check(f"copy{n}.db", tmp_path)
        assert int(lines["contents"]) >= 300 and text.endswith("sound\n")
    assert {path.name for path in tmp_path.glob("copy*")} == {f"copy{n}.db" for n in range(3)}
    again = start_tracker(db=tmp_path / "copy0.db").client()
    assert len([row for row in again.files("folder/", limit=1000) if row["holders"] == 1]) == 300


def test_a_backup_does_not_touch_what_is_there(tracker, tmp_path):
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "link").symlink_to("nowhere")
    assert "mine is there already" in run("backup", "mine", cwd=tmp_path, status=1)
    assert "link is there already" in run("backup", "link", cwd=tmp_path, status=1)
    assert (tmp_path / "mine").read_text() == "precious" and not (tmp_path / "nowhere").exists()
    assert "missing/copy" in run("backup", "missing/copy", cwd=tmp_path, status=1)
    assert "cannot open the database no.db" in run("backup", "copy", "--db", "no.db", cwd=tmp_path, status=1)
    assert not list(tmp_path.glob("*.part")) and not list(tmp_path.glob("no.db*"))


def test_a_backup_on_a_full_disk_leaves_nothing(tracker, tmp_path):
    tracker.client().register(7001, FILES)
    text = run("backup", "copy", cwd=tmp_path, status=1, wrapper=["prlimit", "--fsize=20480"])
    assert "cannot write the copy" in text and not list(tmp_path.glob("copy*"))
    run("backup", "copy", cwd=tmp_path)
    assert check("copy", tmp_path)[0]["contents"] == "300"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_backup_that_is_ended_leaves_no_copy(tracker, tmp_path, number):
    need_strace(tmp_path)
    tracker.client().register(7001, FILES)
    slow = ["strace", "-D", "-f", "-o", "/dev/null", "-e", "inject=pwrite64:delay_enter=30000"]
    backup = subprocess.Popen([*slow, programs.BIN / "tracker", "backup", "copy"], cwd=tmp_path, stderr=subprocess.PIPE)
    wait_until(lambda: [path for path in tmp_path.glob("copy.*.part") if path.stat().st_size > 0])
    backup.send_signal(number)
    said = backup.communicate(timeout=60)[1].decode()
    assert not (tmp_path / "copy").exists()
    if number != signal.SIGKILL:
        assert backup.returncode == 1 and "stopped" in said
        assert not list(tmp_path.glob("copy*"))
    run("backup", "copy", cwd=tmp_path)
    assert check("copy", tmp_path)[0]["contents"] == "300"


# ---- check ----


def test_check_counts_beside_a_tracker_and_leaves_a_stopped_one_as_it_is(start_tracker, tmp_path):
    tracker = start_tracker()
    tracker.client().register(7001, FILES)
    tracker.client().register(7002, [*FILES[:10], Content(b"more", "another name").record()])
    lines, text = check("tracker.db", tmp_path)
    assert text.endswith("sound\n")
    assert (lines["peers"], lines["contents"], lines["names"], lines["holdings"]) == ("2", "301", "301", "311")
    tracker.stop()

    def files():
        """The log's index (-shm) is made anew by whoever opens the database first; that it is there counts."""
        return {path.name: path.suffix == ".db-shm" or path.read_bytes() for path in tmp_path.glob("tracker.db*")}

    before = files()
    assert check("tracker.db", tmp_path)[0] == lines
    assert files() == before


def test_check_reads_what_a_killed_tracker_left_in_its_log(start_tracker, tmp_path):
    tracker = start_tracker()
    tracker.client().register(7001, FILES)
    tracker.kill()
    assert check("tracker.db", tmp_path)[0]["holdings"] == "300"


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("DELETE FROM contents WHERE key < 11", "10 names of a content"),
        ("DELETE FROM names WHERE key < 11", "10 holdings of a name"),
        ("DELETE FROM peers", "300 holdings of a peer"),
        ("DELETE FROM holdings WHERE name < 11", "10 names that nobody holds"),
        ("UPDATE peers SET files = 7", "1 peers with another number"),
        ("UPDATE ranges SET peers = 7", "1 ranges of peers with another number"),
        ("DELETE FROM ranges", "1 ranges of peers with another number"),
    ],
)
def test_check_finds_what_does_not_belong_together(start_tracker, tmp_path, sql, word):
    tracker = start_tracker()
    tracker.client().register(7001, FILES)
    tracker.stop()
    change(tmp_path / "tracker.db", sql)
    text = check("tracker.db", tmp_path, status=1)[1]
    assert word in text and "is damaged" in text and "sound" not in text


def test_check_finds_damage(start_tracker, tmp_path):
    tracker = start_tracker()
    tracker.client().register(7001, FILES)
    tracker.stop()
    path = tmp_path / "tracker.db"
    data = bytearray(path.read_bytes())
    data[4096 * 4 : 4096 * 12] = os.urandom(4096 * 8)
    path.write_bytes(data)
    assert "is damaged" in check("tracker.db", tmp_path, status=1)[1]
    path.write_bytes(b"not a database, but as long as one has to be" * 100)
    assert "not a database" in run("check", cwd=tmp_path, status=1)


def test_check_refuses_what_is_no_trackers(start_tracker, tmp_path):
    with sqlite3.connect(tmp_path / "other.db") as db:
        db.execute("CREATE TABLE precious (value)")
    db.close()
    (tmp_path / "empty.db").touch()
    assert "another program" in run("check", "--db", "other.db", cwd=tmp_path, status=1)
    assert "is empty" in run("check", "--db", "empty.db", cwd=tmp_path, status=1)
    assert "no.db" in run("check", "--db", "no.db", cwd=tmp_path, status=1)
    start_tracker().stop()
    change(tmp_path / "tracker.db", "PRAGMA user_version = 99")
    assert "schema version 99" in run("check", cwd=tmp_path, status=1)


# ---- schemas ----

# As the first version made it.
SCHEMA_1 = """
    CREATE TABLE peers (
      key INTEGER PRIMARY KEY, id BLOB UNIQUE, instance BLOB, host BLOB NOT NULL, port INTEGER NOT NULL,
      files INTEGER NOT NULL, seen_ms INTEGER NOT NULL) STRICT;
    CREATE INDEX peers_seen ON peers (seen_ms);
    CREATE TABLE contents (
      key INTEGER PRIMARY KEY, root BLOB NOT NULL, size INTEGER NOT NULL, UNIQUE (root, size)) STRICT;
    CREATE TABLE names (
      key INTEGER PRIMARY KEY, content INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE (content, name)) STRICT;
    CREATE TABLE holdings (
      peer INTEGER NOT NULL, name INTEGER NOT NULL, complete INTEGER NOT NULL,
      PRIMARY KEY (peer, name)) STRICT, WITHOUT ROWID;
    CREATE INDEX holdings_name ON holdings (name, peer, complete);
    CREATE VIRTUAL TABLE search USING fts5 (text, tokenize = 'trigram', content = '', columnsize = 0);
    CREATE TABLE clock (value INTEGER NOT NULL) STRICT; INSERT INTO clock VALUES (7000);
    PRAGMA application_id = 0x456e7861;
    PRAGMA user_version = 1;
"""


def make_schema_1(path, identity, names):
    """A database of the first version in which one peer holds a file of each name."""
    db = sqlite3.connect(path)
    db.executescript(SCHEMA_1)
    with db:
        host = bytes(10) + b"\xff\xff\x7f\x00\x00\x01"
        values = (bytes.fromhex(identity.id), host, len(names))
        db.execute("INSERT INTO peers VALUES (1, ?, NULL, ?, 7001, ?, 5)", values)
        db.execute("INSERT INTO peers VALUES (2, NULL, NULL, ?, 7002, 0, ?)", (host, -(2**63)))  # one that left
        for key, name in enumerate(names, 1):
            root = hashlib.sha256(name.encode()).digest()
            db.execute("INSERT INTO contents VALUES (?, ?, ?)", (key, root, len(name)))
            db.execute("INSERT INTO names VALUES (?, ?, ?)", (key, key, name))
            db.execute("INSERT INTO holdings VALUES (1, ?, 1)", (key,))
            db.execute("INSERT INTO search (rowid, text) VALUES (?, ?)", (key, f"\x02\x02{name}\x03\x03"))
    db.close()


def test_a_database_of_the_first_schema_is_brought_up_to_date(start_tracker, tmp_path):
    identity, names = Identity(), [f"films/Número {n}.mp4" for n in range(50)]
    make_schema_1(tmp_path / "tracker.db", identity, names)
    shutil.copy(tmp_path / "tracker.db", tmp_path / "old.db")
    lines, text = check("old.db", tmp_path)
    assert lines["holdings"] == "50" and "schema version 1" in text
    assert rows(tmp_path / "old.db", "PRAGMA user_version") == [(1,)]

    tracker = start_tracker("--expire", "600")
    assert "from schema version 1 to " in tracker.err() and " schema version 4 now, after " in tracker.err()
    peer = tracker.client(identity)
    assert peer.heartbeat()["files"] == 50
    assert sorted(row["name"] for row in peer.files("NÚMERO 1")) == sorted(name for name in names if "ero 1" in name)
    peer.register(7001, FILES)
    assert len(peer.files("films")) == 0 and len(peer.files(limit=1000)) == 300
    assert int(peer.get("/healthz").headers["Lamport-Clock"]) > 7000
    lines, text = check("tracker.db", tmp_path)
    assert lines["holdings"] == "300" and "schema version 1\n" not in text and text.endswith("sound\n")


def test_a_database_that_is_up_to_date_starts_without_a_word_of_it(start_tracker):
    for _ in range(2):
        tracker = start_tracker()
        tracker.stop()
        assert "schema" not in tracker.err()
