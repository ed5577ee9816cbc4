"""Hashing again what is shared: what was changed, what is gone, and what is damaged and repaired from the swarm."""

import contextlib
import os
import re
import signal
import sqlite3
import time

import pytest

import client
from client import Content, FakeHolder
from programs import random_file, wait_until, without_rights
from test_download import share, unfinished

CHUNK = 64 * 1024
OLD = 1_600_000_000


def write_at(path, offsets, byte=b"\xa5"):
    with open(path, "r+b") as file:
        for offset in offsets:
            file.seek(offset)
            assert file.read(1) != byte
            file.seek(offset)
            file.write(byte)
    os.utime(path, (OLD, OLD))


def settle(*paths):
    """Until the peer trusts the files' times: they are 2 s old."""
    wait_until(lambda: all(time.time() - path.stat().st_ctime > 2.1 for path in paths))


def pretend_unchanged(folder, *paths):
    """What a disk does to a file leaves no trace in its times, what a test does to it does: the record is moved up."""
    with contextlib.closing(sqlite3.connect(folder / ".enxame/state.db")) as db, db:
        for path in paths:
            status = path.stat()
            changed = db.execute(
                "UPDATE hashes SET device = ?, inode = ?, mtime_ns = ?, ctime_ns = ?, settled = 1 WHERE path = ?",
                (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, os.fsencode(path)),
            ).rowcount
            assert changed == 1, path


def known(folder, path):
    with contextlib.closing(sqlite3.connect(folder / ".enxame/state.db")) as db:
        return db.execute("SELECT root FROM hashes WHERE path = ?", (os.fsencode(path),)).fetchone()


@pytest.fixture
def damage(run_peer, tracker, tmp_path):
    """damage({path: offsets}, names=[...]) -> the folder of a peer that believes that nothing happened to them."""

    def do(offsets_of, shared, args=()):
        folder = tmp_path / "d"
        run_peer(["status"], tracker=tracker, dir=folder, files=shared, args=args).ok()
        for path, offsets in offsets_of.items():
            write_at(path, offsets)
        settle(*offsets_of)
        pretend_unchanged(folder, *offsets_of)
        return folder

    return do


def rows(stdout):
    """[(what, name, detail)] of the files that verify tells of."""
    words = "damaged|repaired|kept|changed|gone|unreadable"
    return [match.groups() for match in re.finditer(rf"^({words}) +(\S+?)(?:: (.*))?$", stdout, re.MULTILINE)]


def summary(stdout):
    return re.search(r"^\d+ files? \(.*\): .*$", stdout, re.MULTILINE)[0].split("): ")[1]


def version(path):
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode


def test_what_is_as_it_was_is_ok(tracker, run_peer, tmp_path):
    paths = [random_file(tmp_path / f"src/file{n}", 100_000 + n, seed=n) for n in range(3)]
    done = run_peer(["verify"], tracker=tracker, files=[tmp_path / "src"]).ok()
    assert summary(done.stdout) == "3 OK" and rows(done.stdout) == []
    assert "293.0 KiB" in done.stdout
    done = run_peer(["verify file1", "verify 'src/*2'", "verify src", "shared", "verify 1"], tracker=tracker,
                    files=[tmp_path / "src"]).ok()  # fmt: skip
    assert re.findall(r"\): (\d) OK", done.stdout) == ["1", "1", "3", "1"]
    assert all(path.exists() for path in paths)


def test_what_nobody_shares_is_said(tracker, run_peer):
    for word in ("absent", "'#7'", "'a*'"):
        done = run_peer([f"verify {word}"], tracker=tracker)
        assert done.status == 1 and word.strip("'") in done.stderr
    assert summary(run_peer(["verify"], tracker=tracker).ok().stdout) == "0 OK"


@pytest.mark.sanitized
def test_a_damaged_file_is_repaired_from_another_holder(tracker, run_peer, damage, tmp_path):
    path = random_file(tmp_path / "src/file", 40 * CHUNK + 7)
    content = Content.of_file(path)
    folder = damage({path: [5 * CHUNK + 3, 5 * CHUNK + 9999, 40 * CHUNK + 1]}, [path])
    path.chmod(0o640)
    settle(path)
    pretend_unchanged(folder, path)
    before = version(path)
    with FakeHolder(content, tracker=tracker.address) as holder:
        done = run_peer(["verify"], tracker=tracker, dir=folder, files=[path]).ok()
        fetched = sum(last - first + 1 for first, last, _ in holder.ranges)
    assert path.read_bytes() == content.data
    after = version(path)
    assert after[0] != before[0] and after[1:] == before[1:]
    assert ("damaged", "file", "2 of 161 chunks") in rows(done.stdout)
    assert summary(done.stdout) == "0 OK, 1 damaged, 1 repaired"
    assert fetched <= 2 * CHUNK  # and not the good chunks again
    assert unfinished(folder) == [] and [one.name for one in path.parent.iterdir()] == ["file"]
    again = run_peer(["verify", "shared"], tracker=tracker, dir=folder, files=[path]).ok()
    assert summary(again.stdout) == "1 OK" and content.root[:12] in again.stdout


def have_of(api, content):
    """None where it does not offer anything of it (yet)."""
    answer = api.get(f"/v1/files/{content.root}/have?size={content.size}")
    return answer.json() if answer.status_code == 200 else None


def test_nothing_wrong_is_served_and_it_waits_for_a_holder(
    tracker, run_peer, start_peer, damage, tmp_path
):  # fmt: skip
    path = random_file(tmp_path / "src/file", 20 * CHUNK)
    content = Content.of_file(path)
    folder = damage({path: [7]}, [path])
    bad = path.read_bytes()
    before = version(path)
    done = run_peer(["verify"], tracker=tracker, dir=folder, files=[path])
    assert done.status == 1 and path.read_bytes() == bad and version(path) == before
    assert [row[0] for row in rows(done.stdout)] == ["damaged", "kept"] and "nobody else" in done.stdout
    assert summary(done.stdout) == "0 OK, 1 damaged"
    # The next start knows it, offers only what is good, and goes on as soon as somebody has the rest.
    peer = start_peer(tracker=tracker, dir=folder, files=[path])
    wait_until(lambda: "damaged" in peer.err())
    api = peer.client()
    have = wait_until(lambda: have_of(api, content))
    good = set(client.bitmap_indexes(have["bitmap"], 80))
    assert have["complete"] is False and good == set(range(1, 80))
    wait_until(lambda: peer.id in tracker.client().holder_ids(content))
    assert {row["root"] for row in tracker.client().files()} <= {content.root}
    with FakeHolder(content, tracker=tracker.address):
        wait_until(lambda: path.read_bytes() == content.data)
        wait_until(lambda: "repaired file" in peer.err())
    assert api.data(content).content == content.data


def said(shell, line, until):
    """What a peer printed since it was told this."""
    before = len(shell.out())
    shell.say(line)
    return wait_until(lambda: re.search(until, shell.out()[before:], re.MULTILINE) and shell.out()[before:])


@pytest.mark.sanitized
def test_files_of_all_kinds_at_once(tracker, start_shell, damage, tmp_path):
    names = ["fine", "rotten", "edited", "lost", "dated"]
    paths = {name: random_file(tmp_path / "src" / name, 3 * CHUNK, seed=n) for n, name in enumerate(names)}
    paths["small"] = random_file(tmp_path / "src/small", 500, seed=9)
    contents = {name: Content.of_file(path) for name, path in paths.items()}
    folder = damage({paths["rotten"]: [0], paths["small"]: [3]}, [tmp_path / "src"])
    with contextlib.ExitStack() as stack:
        for name in ("rotten", "small"):
            stack.enter_context(FakeHolder(contents[name], tracker=tracker.address))
        shell = start_shell(tracker=tracker, dir=folder, files=[tmp_path / "src"])
        said(shell, "shared", r"src/small$")
        paths["edited"].write_text("as it is now")
        paths["lost"].unlink()
        paths["dated"].touch()
        first = said(shell, "verify", r"^\d+ files? \(")
        assert sorted(row[:2] for row in rows(first) if row[0] != "repaired") == [
            ("changed", "src/edited"), ("damaged", "src/rotten"), ("damaged", "src/small"), ("gone", "src/lost")
        ]  # fmt: skip
        assert summary(first) == "2 OK, 2 damaged, 1 changed, 1 gone, 2 repaired"
        api = shell.client(tracker)
        new = Content.of_file(paths["edited"])
        assert api.data(new).content == b"as it is now"
        wait_until(lambda: shell.id in tracker.client().holder_ids(new))
        assert api.data(contents["edited"]).status_code == 404
        for name in ("rotten", "small"):
            assert paths[name].read_bytes() == contents[name].data == api.data(contents[name]).content
        assert summary(said(shell, "verify", r"^\d+ files? \(")) == "5 OK"
        assert shell.end() == 0


def test_all_names_of_a_repaired_file_are_shared_again(tracker, start_shell, damage, tmp_path):
    path = random_file(tmp_path / "src/file", 3 * CHUNK)
    content = Content.of_file(path)
    folder = damage({path: [CHUNK]}, [path, path.parent])
    with FakeHolder(content, tracker=tracker.address):
        shell = start_shell(tracker=tracker, dir=folder, files=[path, path.parent])
        said(shell, "verify", r"1 repaired|2 repaired")
        shown = said(shell, "shared", r"src/file$")
        assert set(re.findall(r" all +(\S+)$", shown, re.MULTILINE)) == {"file", "src/file"}


def test_a_finished_download_is_repaired_and_shared_again_at_each_start(tracker, run_peer, start_peer, tmp_path):
    """Its layer is only known in the chunks that it was fetched in."""
    content = Content.random(10 * CHUNK, name="file")
    folder = tmp_path / "d"
    with FakeHolder(content, tracker=tracker.address) as holder:
        run_peer(["download file"], tracker=tracker, dir=folder, args=["--chunk-size", "128K"]).ok()
        write_at(folder / "file", [5])
        settle(folder / "file")
        pretend_unchanged(folder, folder / "file")
        before = holder.chunk_requests(2 * CHUNK)
        done = run_peer(["verify"], tracker=tracker, dir=folder).ok()
        assert ("damaged", "file", "1 of 5 chunks") in rows(done.stdout)
        assert holder.chunk_requests(2 * CHUNK) == before | {0: 2}
    assert (folder / "file").read_bytes() == content.data
    api = start_peer(tracker=tracker, dir=folder).client()
    assert wait_until(lambda: have_of(api, content))["complete"]


def test_what_the_disk_cannot_read_is_damaged(tracker, run_peer, damage, tmp_path):
    path = random_file(tmp_path / "src/file", 3 * CHUNK)
    content = Content.of_file(path)
    folder = damage({path: []}, [path])
    failing = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", path, "-e", "inject=pread64:error=EIO"]
    with FakeHolder(content, tracker=tracker.address):
        done = run_peer(["verify"], tracker=tracker, dir=folder, files=[path], wrapper=failing).ok()
    assert ("damaged", "file", "parts of it cannot be read") in rows(done.stdout)
    assert summary(done.stdout) == "0 OK, 1 damaged, 1 repaired" and path.read_bytes() == content.data


# ---- what the user does meanwhile is never lost ----


@pytest.mark.parametrize("deed", ["edit", "replace", "remove", "restore"])
def test_a_file_that_changes_while_it_is_repaired(tracker, start_shell, damage, tmp_path, deed):
    path = random_file(tmp_path / "src/file", 3 * CHUNK)
    content = Content.of_file(path)
    folder = damage({path: [CHUNK]}, [path])
    with FakeHolder(content, tracker=tracker.address) as holder:
        holder.freeze()
        shell = start_shell(tracker=tracker, dir=folder, files=[path])
        shell.say("verify")
        wait_until(lambda: "damaged " in shell.out())
        new = b"mine" * CHUNK
        if deed == "edit":
            with open(path, "r+b") as file:
                file.write(b"mine")
            new = path.read_bytes()
        elif deed == "replace":
            (tmp_path / "new").write_bytes(new)
            os.replace(tmp_path / "new", path)
        elif deed == "restore":
            new = content.data
            (tmp_path / "new").write_bytes(new)
            os.replace(tmp_path / "new", path)
        else:
            path.unlink()
        holder.thaw()
        wait_until(lambda: re.search(r"^1 file \(", shell.out(), re.MULTILINE))
        if deed == "remove":
            assert not path.exists() and "is gone" in shell.err() or "meanwhile" in shell.err()
        else:
            assert path.read_bytes() == new and "changed meanwhile" in shell.err()
            shown = Content(new)
            wait_until(lambda: shell.client(tracker).data(shown).content == new)
        assert unfinished(folder) == [] and [one.name for one in path.parent.iterdir()] == ["file"] * (deed != "remove")
        assert shell.end() == 1


def test_what_is_open_for_writing_is_taken_for_changed(tracker, run_peer, damage, tmp_path):
    """Through a mapping a program can write without a trace in the file's times."""
    path = random_file(tmp_path / "src/file", 3 * CHUNK)
    content = Content.of_file(path)
    folder = damage({path: [CHUNK]}, [path])
    now = path.read_bytes()
    with FakeHolder(content, tracker=tracker.address) as holder, open(path, "r+b"):
        done = run_peer(["verify", "shared"], tracker=tracker, dir=folder, files=[path]).ok()
        assert holder.ranges == []
    assert rows(done.stdout) == [("changed", "file", "shared as it is now")] and path.read_bytes() == now
    assert Content(now).root[:12] in done.stdout


def test_a_repair_that_is_cancelled_leaves_the_file(tracker, start_shell, damage, run_peer, tmp_path):
    path = random_file(tmp_path / "src/file", 3 * CHUNK)
    folder = damage({path: [CHUNK]}, [path])
    bad = path.read_bytes()
    shell = start_shell(tracker=tracker, dir=folder, files=[path])
    said(shell, "verify", "^kept")
    shell.say("cancel file")
    wait_until(lambda: "repair of file: cancelled" in shell.err())
    shell.say("shared")
    wait_until(lambda: "nothing is shared" in shell.err())
    shell.end()
    assert path.read_bytes() == bad and unfinished(folder) == []
    done = run_peer(["verify", "shared"], tracker=tracker, dir=folder, files=[path]).ok()  # it is what it is
    assert Content(bad).root[:12] in done.stdout


def test_a_folder_that_cannot_be_written_is_said(tracker, run_peer, damage, tmp_path):
    path = random_file(tmp_path / "src/file", 3 * CHUNK)
    content = Content.of_file(path)
    folder = damage({path: [CHUNK]}, [path])
    bad = path.read_bytes()
    path.parent.chmod(0o555)
    try:
        with FakeHolder(content, tracker=tracker.address):
            done = run_peer(["verify"], tracker=tracker, dir=folder, files=[path], wrapper=without_rights())
            assert done.status == 1 and "ermission" in done.stderr and path.read_bytes() == bad
            path.parent.chmod(0o755)
            run_peer(["verify"], tracker=tracker, dir=folder, files=[path], wrapper=without_rights()).ok()
    finally:
        path.parent.chmod(0o755)
    assert path.read_bytes() == content.data


def test_a_repair_goes_on_after_a_kill(tracker, run_peer, start_shell, damage, tmp_path):
    path = random_file(tmp_path / "src/file", 20 * CHUNK)
    content = Content.of_file(path)
    folder = damage({path: range(0, 20 * CHUNK, CHUNK)}, [path])
    with FakeHolder(content, tracker=tracker.address) as holder:
        holder.fail("silent", on=("data",), after=5)
        shell = start_shell(tracker=tracker, dir=folder, files=[path])
        shell.say("verify")
        wait_until(lambda: len(holder.ranges) >= 5)
        shell.kill()
        assert path.read_bytes() != content.data
        holder.behave()
        done = run_peer(["verify"], tracker=tracker, dir=folder, files=[path]).ok()
    assert path.read_bytes() == content.data and ("damaged", "file", "known before, and not repaired yet") in rows(
        done.stdout
    )
    assert [one.name for one in path.parent.iterdir()] == ["file"] and unfinished(folder) == []


# ---- unfinished downloads ----


def recorded(folder):
    """How many chunks of the only download are on record."""
    with contextlib.closing(sqlite3.connect(folder / ".enxame/state.db")) as db:
        found = db.execute("SELECT verified FROM downloads").fetchone()
    return sum(byte.bit_count() for byte in found[0] or b"") if found else 0


@pytest.mark.sanitized
def test_recorded_chunks_that_do_not_fit_are_fetched_again(tracker, open_prompt, tmp_path):
    content = Content.random(20 * CHUNK, name="file")
    with FakeHolder(content, tracker=tracker.address, held=set(range(10))) as holder:
        prompt = open_prompt(tracker)
        prompt.run("download file")
        wait_until(lambda: recorded(prompt.dir) == 10)
        (part,) = unfinished(prompt.dir)
        write_at(part, [3 * CHUNK, 7 * CHUNK])
        prompt.child.send("verify\r")
        prompt.expect("damaged    file: 2 of the 10 chunks that are here; they are fetched again")
        prompt.expect("0 OK, 1 unfinished download")
        wait_until(lambda: holder.chunk_requests(CHUNK) == {chunk: 2 if chunk in (3, 7) else 1 for chunk in range(10)})
        wait_until(lambda: recorded(prompt.dir) == 10)
        prompt.child.send("verify\r")
        assert "damaged" not in prompt.expect("0 OK, 1 unfinished download")
        holder.add_held(range(10, 20))
        prompt.expect("file: 1.3 MiB in ")
        assert (prompt.dir / "file").read_bytes() == content.data
        assert prompt.end() == 0


def test_ctrl_c_ends_it_and_changes_nothing(tracker, run_peer, open_prompt, tmp_path):
    path = random_file(tmp_path / "src/file", 1000)
    folder = tmp_path / "d"
    run_peer(["status"], tracker=tracker, dir=folder, files=[path]).ok()
    os.truncate(path, 256 << 30)  # a hole that takes minutes to hash
    os.utime(path, (OLD, OLD))
    with contextlib.closing(sqlite3.connect(folder / ".enxame/state.db")) as db, db:
        db.execute("UPDATE hashes SET size = ?, chunk_size = ?", (256 << 30, 4 << 20))
    settle(path)
    pretend_unchanged(folder, path)
    prompt = open_prompt(tracker, path, directory=folder)
    prompt.child.send("verify\r")
    prompt.expect("verifying")
    prompt.child.send("\x03")
    prompt.expect("interrupted: the other files were not looked at")
    prompt.expect("enxame> ")
    assert "256.0 GiB" in prompt.run("shared")
    assert prompt.end() == 0 and unfinished(folder) == []


def test_two_peers_with_different_damage_repair_each_other(tracker, run_peer, start_shell, tmp_path):
    paths = [random_file(tmp_path / name / "file", 10 * CHUNK) for name in ("one", "other")]
    content = Content.of_file(paths[0])
    folders = [tmp_path / "d1", tmp_path / "d2"]
    for path, folder, offset in zip(paths, folders, (0, 9 * CHUNK), strict=True):
        run_peer(["status"], tracker=tracker, dir=folder, files=[path]).ok()
        write_at(path, [offset])
    settle(*paths)
    for path, folder in zip(paths, folders, strict=True):
        pretend_unchanged(folder, path)
    shells = [
        start_shell(tracker=tracker, dir=folder, files=[path]) for path, folder in zip(paths, folders, strict=True)
    ]
    for shell in shells:
        shell.say("verify")
    for path in paths:
        wait_until(lambda path=path: path.read_bytes() == content.data)
    for shell in shells:
        shell.end()
        assert "repaired" in shell.out() or "kept" in shell.out()
