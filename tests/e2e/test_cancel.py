"""`cancel`: what it ends and removes, and what it leaves alone.  `chunk-size`."""

import contextlib
import pathlib
import re
import sqlite3

import pytest

from client import Content, FakeHolder, Peer
from programs import random_file, wait_until
from test_download import holder_rows, share, unfinished

CHUNK = 64 * 1024


def rows(folder):
    """What the state knows: {name: (number, done)}."""
    with contextlib.closing(sqlite3.connect(f"file:{folder}/.enxame/state.db?mode=ro", uri=True)) as db:
        return {name: (number, done) for number, name, done in db.execute("SELECT number, name, done FROM downloads")}


def half(content):
    return set(range(content.chunk_count(CHUNK) // 2))


def connections_to(pid, port):
    """Established TCP connections of a process to a port of this machine."""
    sockets = set()
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            sockets.add(str(entry.readlink()))
    lines = [line.split() for line in pathlib.Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return sum(
        line[2].endswith(f":{port:04X}") and line[3] == "01" and f"socket:[{line[9]}]" in sockets for line in lines
    )


def is_partial_holder(tracker, content, short_id):
    return any(one.startswith(short_id) for one in tracker.client().holder_ids(content))


def short_id(prompt):
    return re.search(r"This is peer ([0-9a-f]{8}) ", prompt.greeting)[1]


@pytest.mark.sanitized
def test_one_download_goes_and_the_other_goes_on(tracker, open_prompt):
    one, other = (Content.random(10 * CHUNK + 1, seed=seed, name=f"f{seed}") for seed in (1, 2))
    with (
        FakeHolder(one, tracker=tracker.address, held=half(one)) as holder,
        FakeHolder(other, tracker=tracker.address, held=half(other)) as other_holder,
    ):
        prompt = open_prompt(tracker)
        own = short_id(prompt)
        prompt.child.send("download f1\rdownload f2\r")
        wait_until(lambda: is_partial_holder(tracker, one, own) and is_partial_holder(tracker, other, own))
        wait_until(lambda: holder.sent_bytes == other_holder.sent_bytes == 5 * CHUNK)
        number = rows(prompt.dir)["f1"][0]
        prompt.child.send("status\r")
        prompt.child.expect(rf"\b{number}  (running|searching|stalled) .* f1\r\n")
        prompt.child.send(f"cancel {number}\r")
        prompt.expect("download of f1: cancelled")
        assert set(rows(prompt.dir)) == {"f2"} and len(unfinished(prompt.dir)) == 1
        wait_until(lambda: not is_partial_holder(tracker, one, own))
        assert is_partial_holder(tracker, other, own)
        wait_until(lambda: connections_to(prompt.child.pid, holder.port) == 0)
        # Its number stays taken; its name is free, and it begins at its first chunk again.
        prompt.child.send("download f1\r")
        wait_until(lambda: rows(prompt.dir).get("f1", (0, 0))[0] > number)
        other_holder.add_held(range(11))
        prompt.expect("f2: 640.0 KiB in ")
        holder.add_held(range(11))
        prompt.expect("f1: 640.0 KiB in ")
        assert holder.chunk_requests(CHUNK)[0] == 2 and other_holder.chunk_requests(CHUNK)[0] == 1
        assert (prompt.dir / "f1").read_bytes() == one.data and (prompt.dir / "f2").read_bytes() == other.data
        prompt.child.send("cancel f1\r")
        prompt.expect('no unfinished download "f1"')
        prompt.child.send(f"cancel {rows(prompt.dir)['f1'][0]}\r")
        prompt.expect("f1 is done: it stays")
        assert (prompt.dir / "f1").read_bytes() == one.data
        assert prompt.end("exit\r") == 0


def test_they_take_turns_in_the_order_in_which_they_were_asked_for(tracker, open_prompt):
    contents = [Content.random(30 * CHUNK, seed=seed, name=f"dir{seed}/f") for seed in range(12)]
    with contextlib.ExitStack() as stack:
        for content in contents:
            # Slow enough to take minutes, and too fast to stall, which would let others begin: a chunk in a few seconds.
            stack.enter_context(FakeHolder(content, tracker=tracker.address)).rate_bytes_s = 6000
        prompt = open_prompt(tracker)
        prompt.run("chunk-size 16K")
        api = Peer(re.search(r"address +(\S+)", prompt.run("status"))[1])
        for content in contents:
            prompt.child.send(f"download {content.name}\r")

        def waiting():
            """Those that wait for their turn, once all others have theirs."""
            downloads = api.status()["downloads"]
            roots = [one["root"] for one in downloads if one["state"] == "waiting"]
            running = sum(one["state"] == "running" for one in downloads)
            return running == 8 and [n for n in range(12) if contents[n].root in roots]

        wait_until(lambda: waiting() == [8, 9, 10, 11])
        prompt.child.send("status\r")
        prompt.child.expect(r"waiting [^\n]* dir8/f\r\n")
        prompt.child.send("cancel f\r")
        prompt.expect("means several downloads")
        for cancelled, left in ((0, [9, 10, 11]), (9, [10, 11]), (1, [11])):
            name = contents[cancelled].name
            prompt.child.send(f"cancel {name}\r")
            prompt.expect(f"download of {name}: cancelled")
            wait_until(lambda left=left: waiting() == left)
        assert len(rows(prompt.dir)) == 9 and not (prompt.dir / "dir9").exists()
        prompt.child.send("cancel all\r")
        wait_until(lambda: rows(prompt.dir) == {} and unfinished(prompt.dir) == [])
        prompt.child.send("cancel all\r")
        prompt.expect("nothing to cancel")
        assert prompt.end("exit\r") == 0


def test_one_that_failed_and_the_file_that_is_in_its_way(tracker, open_prompt):
    content = Content.random(10 * CHUNK, name="file")
    with FakeHolder(content, tracker=tracker.address, held=half(content)) as holder:
        prompt = open_prompt(tracker)
        own = short_id(prompt)
        prompt.child.send("download file\r")
        wait_until(lambda: holder.sent_bytes == 5 * CHUNK)
        (prompt.dir / "file").write_text("somebody's")
        holder.add_held(range(10))
        prompt.expect("appeared meanwhile")
        wait_until(lambda: is_partial_holder(tracker, content, own))
        assert len(unfinished(prompt.dir)) == 1
        prompt.child.send(f"share {prompt.dir}/file\r")
        prompt.expect("1 file is shared")
        prompt.child.send("cancel file\r")
        prompt.expect("download of file: cancelled")
        assert rows(prompt.dir) == {} and unfinished(prompt.dir) == []
        assert (prompt.dir / "file").read_text() == "somebody's"
        wait_until(lambda: not is_partial_holder(tracker, content, own))
        somebodys = Content(b"somebody's", name="file")
        assert is_partial_holder(tracker, somebodys, own)
        assert prompt.end("exit\r") == 0


@pytest.mark.sanitized
def test_it_is_done_or_cancelled_and_never_half(tracker, start_peer, open_prompt, tmp_path):
    paths = [random_file(tmp_path / f"src/f{number}", number * 40_000, seed=number) for number in range(25)]
    share(start_peer, tracker, paths)
    prompt = open_prompt(tracker)
    for path in paths:
        prompt.child.send(f"download {path.name}\rcancel {path.name}\r")
    prompt.child.send(" are-they-over\r")
    prompt.expect("unknown command")
    known = rows(prompt.dir)
    for path in paths:
        target = prompt.dir / path.name
        assert target.exists() == (path.name in known)
        assert not target.exists() or target.read_bytes() == path.read_bytes()
    assert all(done for _, done in known.values()) and unfinished(prompt.dir) == []
    assert prompt.end("exit\r") == 0


def test_what_cannot_be_cancelled_is_said(tracker, run_peer):
    for word in ("1", "#1", "file", "''", "all"):
        done = run_peer([f"cancel {word}"], tracker=tracker)
        assert done.status == 1 and re.search("no unfinished download|nothing to cancel", done.stderr)
    assert "usage: cancel" in run_peer(["cancel"], tracker=tracker).stderr


# ---- chunk-size ----


def test_the_chunk_size_of_the_next_downloads(start_peer, tracker, tmp_path, run_peer):
    paths = [random_file(tmp_path / f"src/f{number}", 2_000_000, seed=number) for number in range(2)]
    share(start_peer, tracker, paths)
    commands = ["chunk-size", "chunk-size 1M", "download f0", "chunk-size auto", "chunk-size", "download f1"]
    done = run_peer(commands, tracker=tracker, args=["--chunk-size", "16K"]).ok()
    shown = re.findall(r"^chunk size of the next downloads: (.*)$", done.stdout, re.MULTILINE)
    assert shown == ["16.0 KiB", "1.0 MiB"] + ["auto, by the size of each file"] * 2
    parts = re.split(r"^f\d: ", done.stdout, flags=re.MULTILINE)[1:]
    chunks = [row[0] for part in parts for row in holder_rows(part).values()]
    assert chunks[0] == 2 and chunks[1] > 2
    for word in ("10K", "8K", "32M", "0", "much"):
        done = run_peer([f"chunk-size {word}"], tracker=tracker)
        assert done.status == 1 and "power of two from 16K to 16M" in done.stderr


def test_tab_completes_what_can_be_cancelled(tracker, open_prompt):
    content = Content.random(10 * CHUNK, name="a-long-name")
    with FakeHolder(content, tracker=tracker.address, held=half(content)) as holder:
        prompt = open_prompt(tracker)
        prompt.child.send("download a-long-name\r")
        wait_until(lambda: holder.requests["data"])
        prompt.child.send("canc\ta-l\t\r")
        prompt.expect("download of a-long-name: cancelled")
        assert prompt.end("exit\r") == 0
