"""One peer's synced folder: what of it is recorded, when, and above all what is not taken for a deletion."""

import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import signal
import sqlite3
import subprocess
import time

import pytest

import programs
from programs import wait_until

NETWORK = ["--no-tracker", "--network", "test of one folder"]
FILE, FOLDER, DELETED = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class Entry:
    kind: int
    executable: bool
    mtime_ns: int
    size: int
    root: str
    sequence: int


class Synced:
    """A folder, and what a peer's index knows of it."""

    def __init__(self, tmp_path, launcher):
        self.path = tmp_path / "synced"
        self.dir = tmp_path / "state"
        self.launcher = launcher
        self.peer = None

    def start(self, *args, **options):
        self.peer = self.launcher.start_peer(
            tracker=[], dir=self.dir, args=[*NETWORK, "--sync", self.path, *args], **options
        )
        return self

    def stop(self):
        self.peer.stop()

    def say(self, *commands, status=0):
        done = self.launcher.attach(commands, self.dir)
        assert done.status == status, done.stdout + done.stderr
        return done

    def settle(self):
        self.say("sync wait 60")
        return self.entries()

    def rows(self):
        (path,) = (self.dir / ".enxame").glob("sync-*.db")
        text = "SELECT folder, base, kind, executable, mtime_ns, size, root, sequence FROM entries"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as database:
            for folder, base, kind, executable, mtime_ns, size, root, sequence in database.execute(text):
                name = f"{folder}/{base}" if folder else base
                yield name, Entry(kind, bool(executable), mtime_ns, size, (root or b"").hex(), sequence)

    def everything(self):
        return dict(self.rows())

    def entries(self):
        """Without what is deleted."""
        return {name: entry for name, entry in self.rows() if entry.kind != DELETED}

    def wait_for(self, *names, gone=()):
        def there():
            known = self.entries()
            return (known,) if known.keys() >= set(names) and not known.keys() & set(gone) else None

        return wait_until(there, what=f"{names} known, {gone} not")[0]

    def write(self, name, text):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


@pytest.fixture
def synced(tmp_path, launcher):
    return Synced(tmp_path, launcher)


# ---- what is recorded ----


@pytest.mark.sanitized
def test_what_changes_while_it_runs_is_recorded_as_it_is(synced):
    synced.start()
    path = synced.write("a/b/c.txt", "one")
    (synced.path / "empty").mkdir()
    (synced.path / "nothing").touch()
    known = synced.wait_for("a", "a/b", "a/b/c.txt", "empty", "nothing")
    assert known["a"].kind == known["empty"].kind == FOLDER
    assert known["a/b/c.txt"].kind == known["nothing"].kind == FILE
    assert (known["a/b/c.txt"].size, known["nothing"].size) == (3, 0)
    os.utime(path, ns=(0, 1_234_567_890_123_456_789))
    wait_until(lambda: synced.entries()["a/b/c.txt"].mtime_ns == 1_234_567_890_123_456_789)
    path.chmod(0o755)
    wait_until(lambda: synced.entries()["a/b/c.txt"].executable)
    assert synced.entries()["a/b/c.txt"].root == known["a/b/c.txt"].root
    path.write_text("another")
    wait_until(lambda: synced.entries()["a/b/c.txt"].size == 7)
    (synced.path / "a").rename(synced.path / "z")
    synced.wait_for("z", "z/b", "z/b/c.txt", gone=["a", "a/b", "a/b/c.txt"])
    synced.write("z/b/c.txt", "in the folder that was moved")
    wait_until(lambda: synced.entries()["z/b/c.txt"].size == 28)
    shutil.rmtree(synced.path / "z")
    (synced.path / "empty").rmdir()
    synced.wait_for("nothing", gone=["z", "z/b", "z/b/c.txt", "empty"])
    assert synced.everything()["z/b/c.txt"].kind == DELETED


def test_new_folders_are_watched_before_anything_can_be_missed_in_them(synced):
    synced.start()
    for number in range(40):
        synced.write(f"{number}/2/3/4/first", "1")
        synced.write(f"{number}/2/3/4/second", "2")
    synced.wait_for(*(f"{number}/2/3/4/{name}" for number in range(40) for name in ("first", "second")))
    synced.write("7/2/3/4/first", "written later")
    wait_until(lambda: synced.entries()["7/2/3/4/first"].size == 13)


def test_a_file_and_a_folder_take_each_others_names(synced):
    synced.start()
    synced.write("name", "a file")
    synced.wait_for("name")
    (synced.path / "name").unlink()
    synced.write("name/below", "1")
    synced.wait_for("name/below")
    assert synced.entries()["name"].kind == FOLDER
    shutil.rmtree(synced.path / "name")
    synced.write("name", "a file again")
    known = synced.wait_for("name", gone=["name/below"])
    wait_until(lambda: synced.entries()["name"].kind == FILE)
    assert known["name"].kind in (FILE, FOLDER)


def test_what_changed_while_it_was_away_is_found_and_nothing_else_is_touched(synced):
    synced.path.mkdir()
    for name in ("same", "edited", "deleted", "moved", "folder/inside"):
        synced.write(name, name)
    before = synced.start().settle()
    synced.stop()
    synced.write("edited", "edited while nobody looked")
    (synced.path / "deleted").unlink()
    (synced.path / "moved").rename(synced.path / "folder/moved")
    after = synced.start().settle()
    assert after.keys() == {"same", "edited", "folder", "folder/inside", "folder/moved"}
    assert after["same"] == before["same"] and after["folder/inside"] == before["folder/inside"]
    assert after["edited"].size == 26 and after["folder/moved"].root == before["moved"].root
    assert after["folder/moved"].sequence < synced.everything()["moved"].sequence  # others find its content in time


def test_a_file_that_is_written_waits_until_it_is_closed(synced):
    synced.start().settle()
    with open(synced.path / "long", "w") as file:
        file.write("the beginning")
        file.flush()
        synced.write("mark", "1")
        synced.wait_for("mark")
        assert "long" not in synced.entries()
        file.write(", the end")
    assert synced.wait_for("long")["long"].size == 22


def test_a_large_file_keeps_nobody_waiting_and_is_known_by_its_new_name_before_it_loses_the_old(synced):
    synced.start().settle()
    with open(synced.path / "large", "wb") as file:
        file.truncate(300 << 20)
    synced.write("small", "x")
    synced.wait_for("small", "large")
    (synced.path / "large").rename(synced.path / "moved")
    synced.wait_for("moved", gone=["large"])
    known = synced.everything()
    assert known["moved"].size == 300 << 20 and known["moved"].sequence < known["large"].sequence
    synced.say("sync wait 60")


# ---- what is not synced ----


def test_links_special_files_and_impossible_names_are_told_of_once_and_left_alone(synced, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("not ours")
    synced.path.mkdir()
    (synced.path / "link").symlink_to(outside / "secret")
    (synced.path / "folder link").symlink_to(outside)
    os.mkfifo(synced.path / "pipe")
    (synced.path / "line\nbreak").write_text("x")
    (pathlib.Path(os.fsdecode(os.fsencode(synced.path) + b"/\xff\xfe"))).write_text("x")
    synced.write("good", "x")
    assert synced.start().settle().keys() == {"good"}
    (outside / "new").write_text("still not ours")
    synced.write("better", "x")
    assert synced.wait_for("better").keys() == {"good", "better"}
    lines = [line for line in synced.peer.err().splitlines() if "is not synced" in line]
    assert len(lines) == 5 and sum("symbolic link" in line for line in lines) == 2, lines


def test_a_link_in_the_place_of_what_was_synced_deletes_nothing(synced, tmp_path):
    synced.write("folder/inside", "x")
    synced.write("file", "x")
    before = synced.start().settle()
    (synced.path / "folder").rename(tmp_path / "away")
    (synced.path / "file").rename(tmp_path / "file")
    (synced.path / "folder").symlink_to(tmp_path / "away")
    (synced.path / "file").symlink_to(tmp_path / "file")
    wait_until(lambda: synced.peer.err().count("symbolic link") == 2)
    synced.stop()
    assert synced.start().settle() == before


def test_ignored_names_are_not_recorded_and_what_became_ignored_is_not_deleted(synced):
    synced.write(".enxameignore", "*.tmp\n/build/\n")
    synced.write("a.tmp", "1")
    synced.write("build/x", "1")
    synced.write("notes.txt", "1")
    before = synced.start().settle()
    assert before.keys() == {".enxameignore", "notes.txt"}
    synced.write(".enxameignore", "*.txt\n")
    synced.wait_for("a.tmp", "build/x")
    (synced.path / "notes.txt").unlink()
    synced.write("more.txt", "1")
    synced.write("last", "1")
    known = synced.wait_for("last")
    assert known["notes.txt"] == before["notes.txt"] and "more.txt" not in known


# ---- what is no deletion ----


def stopped(synced):
    return "state      stopped" in synced.launcher.attach(["sync"], synced.dir).stdout


def test_a_folder_without_its_mark_stops_the_sync_and_deletes_nothing(synced, tmp_path):
    synced.write("precious", "x")
    before = synced.start().settle()
    synced.stop()
    synced.path.rename(tmp_path / "unmounted")
    synced.path.mkdir()  # as an empty mount point
    synced.start()
    assert stopped(synced) and "mark is missing" in synced.peer.err()
    assert synced.say("sync wait 5", status=1).stderr.count("stopped")
    assert synced.everything() == before and not any(synced.path.iterdir())
    synced.path.rmdir()
    (tmp_path / "unmounted").rename(synced.path)
    wait_until(lambda: "the folder is back" in synced.peer.err())
    synced.write("later", "x")
    assert synced.wait_for("later")["precious"] == before["precious"]


def test_a_folder_that_vanishes_stops_the_sync_and_deletes_nothing(synced, tmp_path):
    synced.write("precious", "x")
    before = synced.start().settle()
    synced.path.rename(tmp_path / "away")
    wait_until(lambda: stopped(synced))
    assert synced.everything() == before and not synced.path.exists()
    (tmp_path / "away/precious").unlink()
    (tmp_path / "away").rename(synced.path)
    synced.wait_for(gone=["precious"])  # now it is one


def test_a_lost_index_joins_the_folder_anew(synced):
    synced.write("precious", "x")
    synced.start().settle()
    synced.stop()
    for path in (synced.dir / ".enxame").glob("sync-*"):
        path.unlink()
    assert synced.start().settle().keys() == {"precious"}


def test_what_cannot_be_read_is_not_deleted(synced):
    synced.write("open", "x")
    synced.write("closed/inside", "x")
    synced.write("closed/folder/deeper", "x")
    before = synced.start().settle()
    synced.stop()
    (synced.path / "closed").chmod(0)
    try:
        synced.start(wrapper=programs.without_rights())
        assert synced.settle() == before
        (synced.path / "open").unlink()
        synced.wait_for("closed/inside", "closed/folder/deeper", gone=["open"])
    finally:
        (synced.path / "closed").chmod(0o755)
    synced.write("closed/inside", "can be read again")
    wait_until(lambda: synced.entries()["closed/inside"].size == 17)


@pytest.mark.needs_root
def test_another_file_system_is_neither_entered_nor_missed(synced):
    synced.write("mounted/below", "x")
    before = synced.start().settle()
    synced.stop()
    subprocess.run(["mount", "-t", "tmpfs", "none", synced.path / "mounted"], check=True)
    try:
        synced.write("mounted/other", "x")
        assert synced.start().settle() == before
        assert "another file system" in synced.peer.err()
    finally:
        subprocess.run(["umount", synced.path / "mounted"], check=True)
    synced.write("after", "x")
    assert synced.wait_for("after").keys() == before.keys() | {"after"}


@pytest.mark.needs_root
def test_a_full_disk_is_told_of_and_what_changed_meanwhile_is_recorded_afterwards(synced):
    synced.dir.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", synced.dir], check=True)
    try:
        synced.start().settle()
        with contextlib.suppress(OSError), open(synced.dir / "filler", "wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        for number in range(300):
            synced.write(f"folder/{number:0200}", "x")
        wait_until(lambda: "cannot be recorded" in synced.peer.err())
        assert "no space left" in synced.launcher.attach(["sync"], synced.dir).stdout
        (synced.dir / "filler").unlink()
        wait_until(lambda: len(synced.entries()) == 301)
        synced.say("sync wait 60")
        synced.stop()
    finally:
        subprocess.run(["umount", "--lazy", synced.dir], check=True)


# ---- where the kernel tells too little ----


def test_more_changes_than_the_kernel_remembers_are_all_found(synced):
    for number in range(10):
        (synced.path / str(number)).mkdir(parents=True)
    synced.start().settle()
    limit = int(pathlib.Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 50_000:
        pytest.skip("the kernel remembers too much")
    synced.peer.send(signal.SIGSTOP)
    count = limit // 2 + 1000
    for number in range(count):
        synced.write(f"{number % 10}/{number}", "")
    shutil.rmtree(synced.path / "3")
    synced.peer.send(signal.SIGCONT)
    expected = {f"{number % 10}/{number}" for number in range(count) if number % 10 != 3}
    expected |= {str(number) for number in range(10) if number != 3}
    wait_until(lambda: synced.entries().keys() == expected)
    assert "more changed at once than the kernel remembers" in synced.peer.err()


def test_without_watches_the_folder_is_scanned_now_and_then(synced):
    script = 'echo 3 > /proc/sys/user/max_inotify_watches && exec "$@"'
    wrapper = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"]
    if subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no user namespaces here")
    synced.write("1/2/3/4/5/file", "x")
    synced.start(wrapper=wrapper)
    assert "1/2/3/4/5/file" in synced.settle()
    assert "max_user_watches" in synced.peer.err() and "max_user_watches" in synced.say("sync").stdout
    synced.write("1/2/3/4/5/other", "x")
    synced.wait_for("1/2/3/4/5/other")


# ---- users ----


def test_two_peers_do_not_sync_one_folder(synced, run_peer, tmp_path):
    synced.start()
    other = run_peer(["sync"], tracker=[], args=[*NETWORK, "--sync", synced.path])
    assert other.status == 1 and "another peer" in other.stderr


def test_the_default_network_is_warned_of_and_another_is_not(run_peer, tmp_path):
    told = run_peer(["sync wait 60"], tracker=[], args=["--no-tracker", "--sync", tmp_path / "s"]).ok()
    assert "--network NAME" in told.stderr and "up to date" in told.stdout
    told = run_peer(["sync wait 60"], tracker=[], args=[*NETWORK, "--sync", tmp_path / "t"]).ok()
    assert "--network" not in told.stderr


def test_a_pause_ends_with_a_look_at_all(synced):
    synced.start().settle()
    synced.say("sync pause")
    synced.write("meanwhile", "x")
    assert "state      paused" in synced.say("sync").stdout
    assert "paused" in synced.say("sync wait 5", status=1).stderr
    time.sleep(0.2)
    assert synced.entries() == {}
    synced.say("sync resume")
    synced.wait_for("meanwhile")


def test_a_script_sees_how_the_folder_is(synced, run_peer):
    synced.write("folder/file", "12345")
    done = run_peer(["sync wait 60", "sync"], tracker=[], dir=synced.dir, args=[*NETWORK, "--sync", synced.path]).ok()
    assert re.search(r"^state +up to date$", done.stdout, re.MULTILINE)
    assert "1 files, 5 B, in 1 folders" in done.stdout and "folder/file changed here" in done.stdout
    assert run_peer(["sync"], tracker=[], args=NETWORK).stderr.count("--sync DIR")
    assert run_peer(["sync", "sync nonsense"], tracker=[], dir=synced.dir, args=[*NETWORK, "--sync", synced.path]).status == 1


def test_the_prompt_completes_what_sync_does(synced, open_prompt):
    synced.start().settle()
    prompt = open_prompt(attach=synced.dir)
    assert "up to date" in prompt.run("syn\twa\t30")
    prompt.run("sync pa\t")
    assert re.search(r"state +paused", prompt.run("sync"))
    prompt.run("sync resu\t")
    assert "up to date" in prompt.run("sync wait")
    assert "restore NAME|#" in prompt.run("help sync")
