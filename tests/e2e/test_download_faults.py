"""Downloads where others misbehave, vanish or are killed, where the disk is full, where this peer itself is killed."""

import contextlib
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import threading
import time

import pytest
import requests

import client
import holder_http
import programs
from client import Content, FakeHolder
from programs import random_file, sha256_file, wait_until
from test_download import CHUNK, holder_rows, share

# ---- holders that misbehave, one fault each ----

FAULTS = [
    "wrong_bytes", "too_few", "too_many", "wrong_range", "status_200", "plain_200", "status_500", "status_404", "silent",
    "trickle", "cut", "busy", "huge_headers", "garbage", "wrong_layer", "long_layer", "short_layer",
]  # fmt: skip
LIES = {"wrong_bytes", "wrong_layer", "long_layer", "short_layer"}
SMALL = Content.random(24 * CHUNK + 5, seed=5, name="file")


def everywhere(fault):
    """The kinds of request in which a fault makes sense besides its own."""
    return None if fault.endswith("_layer") else ("data",)


def sends_first(holder):
    """Whether it has sent a chunk.  Who was asked and has not may have been cut off before all of it was counted."""
    asked = []

    def has_sent():
        if holder.ranges:
            asked.append(time.monotonic())
        return holder.sent_bytes >= CHUNK or (asked and time.monotonic() - asked[0] > 2)

    return has_sent


@pytest.mark.sanitized
@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_holder_beside_a_good_one(tracker, run_peer, fault):
    with FakeHolder(SMALL, tracker=tracker.address) as bad, FakeHolder(SMALL, tracker=tracker.address) as good:
        bad.fail(fault, on=everywhere(fault))
        good.pace_s = 0.02
        if fault == "wrong_bytes":
            good.waits_for = sends_first(bad)
        done = run_peer(["download file"], tracker=tracker).ok()
        assert (done.dir / "file").read_bytes() == SMALL.data
        rows = holder_rows(done.stdout)
        assert sum(chunks for chunks, _, _ in rows.values()) == 25 and rows[good.address][1] == 0
        if not fault.endswith("_layer") and fault not in ("busy", "trickle", "too_many", "status_200", "plain_200"):
            assert rows[good.address][0] == 25  # of the others, what came may have been right
        if fault == "wrong_bytes":
            assert rows[bad.address][0] == 0 and rows[bad.address][2].startswith("banned")
        if fault not in LIES:
            assert not rows.get(bad.address, (0, 0, ""))[2].startswith("banned") or fault in (
                "too_few", "too_many", "wrong_range", "status_200", "plain_200", "huge_headers", "garbage", "cut",
            ), rows  # fmt: skip


@pytest.mark.parametrize("fault", ["silent", "status_500", "garbage", "cut", "huge_headers", "trickle"])
def test_a_holder_that_is_bad_in_everything_it_says(tracker, run_peer, fault):
    with FakeHolder(SMALL, tracker=tracker.address) as bad, FakeHolder(SMALL, tracker=tracker.address) as good:
        bad.fail(fault, on=("have", "layer", "data"))
        done = run_peer(["download file"], tracker=tracker).ok()
        assert (done.dir / "file").read_bytes() == SMALL.data
        assert holder_rows(done.stdout)[good.address][0] == 25


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_holder_alone_until_a_good_one_comes(tracker, start_shell, fault):
    with FakeHolder(SMALL, tracker=tracker.address) as bad:
        bad.fail(fault, on=everywhere(fault))
        shell = start_shell(tracker=tracker)
        shell.say("download file")
        wait_until(lambda: bad.faults_done > 0)
        time.sleep(0.3)
        assert fault in ("busy", "trickle") or fault.endswith("_layer") or not (shell.dir / "file").exists()
        with FakeHolder(SMALL, tracker=tracker.address):
            assert shell.end(80) == 0, shell.log()
            assert (shell.dir / "file").read_bytes() == SMALL.data


def test_a_busy_holder_is_waited_for_and_has_no_fault(tracker, run_peer):
    with FakeHolder(SMALL, tracker=tracker.address) as holder:
        holder.fail("busy", every=3, times=4)
        done = run_peer(["download file"], tracker=tracker).ok()
        assert (done.dir / "file").read_bytes() == SMALL.data
        assert holder_rows(done.stdout)[holder.address][:2] == (25, 0)


@pytest.mark.parametrize("fault", ["silent", "status_500", "cut"])
def test_the_only_holder_comes_to_its_senses(tracker, run_peer, fault):
    with FakeHolder(SMALL, tracker=tracker.address) as holder:
        holder.fail(fault, times=2)
        done = run_peer(["download file"], tracker=tracker).ok()
        assert (done.dir / "file").read_bytes() == SMALL.data
        assert holder_rows(done.stdout)[holder.address][0] == 25


def test_a_partial_holder_is_asked_again_before_it_has_news(tracker, start_shell):
    with FakeHolder(SMALL, tracker=tracker.address, held=set(range(10))) as holder:
        holder.pace_s = 0.05  # it is waiting for news of the have map when the fault comes
        holder.fail("status_500", after=4, times=1)
        shell = start_shell(tracker=tracker)
        shell.say("download file")
        api = shell.client(tracker)
        wait_until(lambda: sum(one["done_bytes"] for one in api.status()["downloads"]) == 10 * CHUNK, 12)


@pytest.mark.parametrize("claimed", ["complete", "bitmap"])
def test_a_holder_that_claims_what_it_does_not_hold(tracker, run_peer, claimed):
    claim = "complete" if claimed == "complete" else set(range(25))
    with (
        FakeHolder(SMALL, tracker=tracker.address, held={1, 2}, claimed=claim),
        FakeHolder(SMALL, tracker=tracker.address) as good,
    ):
        good.pace_s = 0.02
        done = run_peer(["download file"], tracker=tracker).ok()
        assert (done.dir / "file").read_bytes() == SMALL.data


MAPS = {
    "empty": {"bitmap": ""},
    "too short": {"bitmap": "AAAA"},
    "too long": {"bitmap": "//////////8="},
    "a bit behind the last chunk": {"bitmap": "/////w=="},
    "no base64": {"bitmap": "!!!!"},
    "a number": {"bitmap": 5},
    "null": {"bitmap": None},
    "no such chunk size": {"chunk_size": 48 * 1024},
    "a chunk size of nothing": {"chunk_size": 0},
    "a chunk size without end": {"chunk_size": 2**60},
    "another chunk size than its map": {"chunk_size": 16 * 1024},
    "a larger chunk size than its map": {"chunk_size": 16 << 20},
    "no version": {"version": None},
    "a negative version": {"version": -1},
    "added from nothing": {"bitmap": ..., "added": [0]},
    "added what there is not": {"bitmap": ..., "added": [25]},
    "complete and more": {"complete": "yes"},
    "pending too long": {"pending": "//////////8="},
}


@pytest.mark.parametrize("members", MAPS.values(), ids=MAPS.keys())
def test_a_have_map_that_makes_no_sense(tracker, run_peer, members):
    with (
        FakeHolder(SMALL, tracker=tracker.address, held={3}) as bad,
        FakeHolder(SMALL, tracker=tracker.address) as good,
    ):
        bad.have_says = lambda answer: {key: value for key, value in {**answer, **members}.items() if value is not ...}
        good.pace_s = 0.01
        done = run_peer(["download file"], tracker=tracker).ok()
        assert (done.dir / "file").read_bytes() == SMALL.data
        assert holder_rows(done.stdout)[good.address][0] == 25 and bad.ranges == []


@pytest.mark.parametrize("chunk_size", [16 * 1024, 128 * 1024, 1 << 20])
def test_a_have_map_in_other_chunks_is_understood(tracker, run_peer, chunk_size):
    """Our chunks of 64 KiB: those wholly covered by what it has."""
    with (
        FakeHolder(SMALL, tracker=tracker.address, held={0}, have_chunk_size=chunk_size) as other,
        FakeHolder(SMALL, tracker=tracker.address, held=set(range(1, 25))) as rest,
    ):
        if chunk_size < CHUNK:
            other.set_held({0, 1, 2, 3, 5})  # our first chunk, and a quarter of the second
        done = run_peer(["download file"], tracker=tracker, args=["--chunk-size", "64K"]).ok()
        assert (done.dir / "file").read_bytes() == SMALL.data
        assert other.chunk_requests(CHUNK)[0] == 1 and rest.chunk_requests(CHUNK)[0] == 0
        assert set(other.chunk_requests(CHUNK)) <= set(range(max(1, chunk_size // CHUNK)))


# ---- nobody aims a peer at somebody else ----


def test_who_gives_no_valid_have_map_is_asked_for_nothing_else(tracker, run_peer):
    with FakeHolder(SMALL, tracker=tracker.address) as good, FakeHolder(SMALL, tracker=tracker.address) as stranger:
        stranger.fail("garbage", on=("have", "layer", "data"))
        good.pace_s = 0.05
        good.waits_for = lambda: stranger.requests
        run_peer(["download file"], tracker=tracker).ok()
        assert set(stranger.requests) == {"have"}


def test_a_redirect_is_not_followed(tracker, run_peer, monkeypatch):
    with (
        FakeHolder(SMALL, tracker=tracker.address) as good,
        FakeHolder(SMALL, tracker=tracker.address) as redirecting,
        FakeHolder(SMALL) as victim,
    ):
        good.pace_s = 0.02
        plain = {kind: getattr(holder_http.Handler, kind) for kind in ("_data", "_any", "_layer")}
        for kind, method in plain.items():

            def answer(handler, *arguments, method=method):
                if handler.server.holder is redirecting:
                    handler._send(302, b"", {"Location": f"http://{victim.address}{handler.path}"})
                else:
                    method(handler, *arguments)

            monkeypatch.setattr(holder_http.Handler, kind, answer)
        done = run_peer(["download file"], tracker=tracker).ok()
        assert (done.dir / "file").read_bytes() == SMALL.data
        asked = redirecting.requests
        assert not victim.requests and asked["data"] + asked["any"] + asked["layer"] > 0


def test_proxies_of_the_environment_are_not_used(tracker, run_peer, monkeypatch):
    plain = programs.environment
    proxies = {name: "http://127.0.0.1:9" for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")}
    monkeypatch.setattr(programs, "environment", lambda home: {**plain(home), **proxies})
    with FakeHolder(SMALL, tracker=tracker.address):
        done = run_peer(["download file"], tracker=tracker).ok()
    assert (done.dir / "file").read_bytes() == SMALL.data


def test_a_liar_is_banned_for_that_content_only(tracker, run_peer, start_shell):
    other = Content.random(5 * CHUNK, seed=77, name="other")
    with FakeHolder(SMALL, tracker=tracker.address) as liar, FakeHolder(SMALL, tracker=tracker.address):
        liar.fail("wrong_bytes")
        shell = start_shell(tracker=tracker)
        shell.say("download file")
        wait_until(lambda: (shell.dir / "file").exists())
        liar.behave()
        liar.content = other
        liar.register()
        shell.say("download other")
        assert shell.end() == 0
        assert (shell.dir / "other").read_bytes() == other.data
        assert holder_rows(shell.out())[liar.address][0] == 5


# ---- three holders of 64 MiB: one is killed half way, one lies ----


@pytest.mark.sanitized
def test_three_holders_of_64_mib_one_killed_one_a_liar(tracker, start_peer, start_shell, tmp_path):
    size = (16 if programs.SANITIZED else 64) << 20
    path = random_file(tmp_path / "src/big", size)
    content = Content.of_file(path)
    good = share(start_peer, tracker, path)
    victim = share(start_peer, tracker, path, args=["--limit-up", str(size // 16)])
    with FakeHolder(content, tracker=tracker.address) as liar:
        liar.fail("wrong_bytes")
        good.freeze()  # and the other one is slow, so that the end does not come before the kill
        shell = start_shell(tracker=tracker)
        shell.say("download big")
        api = shell.client(tracker)
        wait_until(lambda: sum(one["done_bytes"] for one in api.status()["downloads"]) > 0)
        victim.kill()
        assert not (shell.dir / "big").exists()
        good.send(signal.SIGCONT)
        assert shell.end() == 0, shell.log()
        rows = holder_rows(shell.out())
        assert rows[liar.address][0] == 0 and rows[liar.address][2].startswith("banned"), shell.out()
        assert rows[victim.address][0] > 0 and rows[good.address][0] > 0
    assert sha256_file(shell.dir / "big") == sha256_file(path)


def test_a_holder_is_stopped_and_continued(tracker, start_peer, start_shell, tmp_path):
    path = random_file(tmp_path / "src/big", 32 << 20)
    peers = [share(start_peer, tracker, path) for _ in range(2)]
    shell = start_shell(tracker=tracker)
    peers[0].send(signal.SIGSTOP)
    shell.say("download big")
    wait_until(lambda: (shell.dir / "big").exists())  # the other one is enough
    assert sha256_file(shell.dir / "big") == sha256_file(path)
    peers[0].send(signal.SIGCONT)
    assert shell.end() == 0


def test_the_only_holder_is_stopped_and_continued(tracker, start_peer, start_shell, tmp_path):
    path = random_file(tmp_path / "src/big", 8 << 20)
    peer = share(start_peer, tracker, path)
    peer.send(signal.SIGSTOP)
    shell = start_shell(tracker=tracker)
    shell.say("download big")
    time.sleep(2)
    assert not (shell.dir / "big").exists()
    peer.send(signal.SIGCONT)
    assert shell.end() == 0
    assert sha256_file(shell.dir / "big") == sha256_file(path)


def test_the_only_holder_leaves_and_returns(tracker, start_peer, start_shell, tmp_path):
    with FakeHolder(SMALL, tracker=tracker.address, held=set(range(10))):
        shell = start_shell(tracker=tracker)
        shell.say("download file")
        api = shell.client(tracker)
        wait_until(lambda: sum(one["done_bytes"] for one in api.status()["downloads"]) == 10 * CHUNK)
    wait_until(lambda: api.status()["downloads"][0]["state"] == "stalled")
    wait_until(lambda: "stalled" in shell.err())
    assert shell.alive and not (shell.dir / "file").exists()
    with FakeHolder(SMALL, tracker=tracker.address) as again:
        assert shell.end() == 0
        assert (shell.dir / "file").read_bytes() == SMALL.data
        assert again.chunk_requests(CHUNK) == dict.fromkeys(range(10, 25), 1)


def test_a_script_gives_up_where_nobody_comes_and_keeps_what_it_has(tracker, run_peer, start_shell, tmp_path):
    with FakeHolder(SMALL, tracker=tracker.address, held=set(range(10))):
        shell = start_shell(tracker=tracker, dir=tmp_path / "d")
        shell.say("download file")
        api = shell.client(tracker)
        wait_until(lambda: sum(one["done_bytes"] for one in api.status()["downloads"]) == 10 * CHUNK)
    assert shell.end() == 1 and "nobody to fetch from" in shell.err()
    with FakeHolder(SMALL, tracker=tracker.address) as again:
        run_peer(["download file"], tracker=tracker, dir=shell.dir).ok()
        assert (shell.dir / "file").read_bytes() == SMALL.data
        assert again.chunk_requests(CHUNK) == dict.fromkeys(range(10, 25), 1)


def test_the_tracker_dies_during_a_download(start_tracker, start_shell):
    tracker = start_tracker()
    with FakeHolder(SMALL, tracker=tracker.address) as holder:
        holder.pace_s = 0.2
        shell = start_shell(tracker=tracker)
        shell.say("download file")
        wait_until(lambda: holder.sent_bytes > 2 * CHUNK)
        tracker.kill()
        assert shell.end() == 0
        assert (shell.dir / "file").read_bytes() == SMALL.data
        assert holder.chunk_requests(CHUNK) == dict.fromkeys(range(25), 1)


# ---- this peer is killed ----


def database(peer_dir):
    return sqlite3.connect(peer_dir / ".enxame/state.db")


def recorded(peer_dir, count):
    """The chunks that the state says are verified."""
    with contextlib.closing(database(peer_dir)) as db:
        rows = db.execute("SELECT verified FROM downloads WHERE done = 0").fetchall()
    octets = rows[0][0] or b"" if rows else b""
    return {index for index in range(min(count, 8 * len(octets))) if octets[index // 8] & 0x80 >> index % 8}


def on_disk(peer_dir, content):
    """The chunks whose bytes lie in the part file."""
    (part,) = (peer_dir / ".enxame/parts").iterdir()
    data = part.read_bytes()
    count = content.chunk_count(CHUNK)
    return {n for n in range(count) if data[n * CHUNK : (n + 1) * CHUNK] == content.chunk(n, CHUNK)}


def kill_in_the_middle(start_shell, tracker, holder, peer_dir, chunks):
    """Also on a slow machine, as no more is sent until then."""
    holder.freezes_at = chunks * CHUNK
    shell = start_shell(tracker=tracker, dir=peer_dir)
    shell.say("download file")
    wait_until(lambda: holder.sent_bytes >= chunks * CHUNK and len(on_disk(peer_dir, SMALL)) >= chunks // 2)
    shell.kill()
    holder.thaw()


@pytest.mark.sanitized
def test_after_kill_9_no_recorded_chunk_is_fetched_again(tracker, start_shell, run_peer, tmp_path):
    with FakeHolder(SMALL, tracker=tracker.address) as holder:
        holder.rate_bytes_s = 8 * CHUNK  # records are a second apart
        holder.freezes_at = 20 * CHUNK  # a slow machine does not come to the end before the kill
        shell = start_shell(tracker=tracker, dir=tmp_path / "d")
        shell.say("download file")
        wait_until(lambda: len(recorded(tmp_path / "d", 25)) >= 5 if (tmp_path / "d/.enxame/parts/1").exists() else 0)
        shell.kill()
    known, written = recorded(tmp_path / "d", 25), on_disk(tmp_path / "d", SMALL)
    assert len(known) >= 5 and known <= written != set(range(25))
    with FakeHolder(SMALL, tracker=tracker.address) as again:
        done = run_peer(["download file"], tracker=tracker, dir=tmp_path / "d").ok()
        assert (done.dir / "file").read_bytes() == SMALL.data
        assert again.chunk_requests(CHUNK) == dict.fromkeys(set(range(25)) - written, 1)


def test_unrecorded_bytes_are_hashed_rather_than_fetched(tracker, start_shell, run_peer, tmp_path):
    with FakeHolder(SMALL, tracker=tracker.address) as holder:
        holder.pace_s = 0.05
        kill_in_the_middle(start_shell, tracker, holder, tmp_path / "d", 15)
        with contextlib.closing(database(tmp_path / "d")) as db, db:
            db.execute("UPDATE downloads SET verified = NULL")
        written = on_disk(tmp_path / "d", SMALL)
        assert len(written) >= 8
        (part,) = (tmp_path / "d/.enxame/parts").iterdir()
        damaged = min(written)
        with open(part, "r+b") as file:
            file.seek(damaged * CHUNK)
            file.write(b"damaged")
        before = holder.chunk_requests(CHUNK)
        # Another chunk size is of no use for what was begun.
        words = ["--chunk-size", "256K"]
        done = run_peer(["download file"], tracker=tracker, dir=tmp_path / "d", args=words).ok()
        assert (done.dir / "file").read_bytes() == SMALL.data
        again = holder.chunk_requests(CHUNK) - before
        assert again == dict.fromkeys(set(range(25)) - written | {damaged}, 1)


def test_a_part_file_that_was_cut_or_removed_is_not_trusted(tracker, start_shell, run_peer, tmp_path):
    for number, harm in enumerate((lambda part: os.truncate(part, 100_000), lambda part: part.unlink())):
        peer_dir = tmp_path / f"d{number}"
        with FakeHolder(SMALL, tracker=tracker.address) as holder:
            holder.pace_s = 0.05
            kill_in_the_middle(start_shell, tracker, holder, peer_dir, 15)
            harm(next((peer_dir / ".enxame/parts").iterdir()))
            done = run_peer(["download file"], tracker=tracker, dir=peer_dir).ok()
            assert (done.dir / "file").read_bytes() == SMALL.data


def kill_until_done(tracker, start_shell, start_peer, tmp_path, content, seed):
    generator = random.Random(seed)
    peer_dir = tmp_path / f"d{seed}"
    with FakeHolder(content, tracker=tracker.address) as holder:
        holder.pace_s = 0.01
        for _ in range(2):
            shell = start_shell(tracker=tracker, dir=peer_dir)
            shell.say(f"download {content.root}")
            time.sleep(generator.uniform(0.02, 0.6))
            shell.kill()
            holder_before = holder.chunk_requests(CHUNK)
            count = content.chunk_count(CHUNK)
            written = set()
            if (peer_dir / ".enxame/parts/1").exists():
                with contextlib.suppress(sqlite3.OperationalError):
                    known, written = recorded(peer_dir, count), on_disk(peer_dir, content)
                    assert known <= written
        holder.pace_s = 0
        # A daemon goes on by itself with what it was asked for.
        again = start_peer(tracker=tracker, dir=peer_dir)
        if not (peer_dir / ".enxame/parts/1").exists() and not (peer_dir / content.name).exists():
            again.stop()
            return  # it was killed before it had begun
        wait_until((peer_dir / content.name).exists)
        assert sha256_file(peer_dir / content.name) == client.sha256(content.data).hex()
        assert not set(holder.chunk_requests(CHUNK) - holder_before) & written
        again.stop()


def test_kill_9_twice_in_a_row_at_random_moments(tracker, start_shell, start_peer, tmp_path):
    for seed in range(5):
        content = Content.random(100 * CHUNK, seed=seed, name=f"file{seed}")
        kill_until_done(tracker, start_shell, start_peer, tmp_path, content, seed)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_kill_9_a_hundred_times(tracker, start_shell, start_peer, tmp_path):
    for seed in range(50):
        content = Content.random(100 * CHUNK, seed=seed, name=f"file{seed}")
        kill_until_done(tracker, start_shell, start_peer, tmp_path, content, seed)


@pytest.mark.sanitized
def test_a_peer_that_ends_while_it_is_asked_ends_cleanly(tracker, start_shell):
    with FakeHolder(SMALL, tracker=tracker.address, held=set(range(10))):
        shell = start_shell(tracker=tracker)
        shell.say("download file")
        address = shell.client(tracker).url
        ended = threading.Event()

        def ask():
            api = client.Peer(address)
            with contextlib.suppress(requests.RequestException, AssertionError):
                while not ended.is_set():
                    for path in ("/v1/status", "/metrics", f"/v1/files/{SMALL.root}/have?size={SMALL.size}&since=1"):
                        api.get(path)
                    api.data(SMALL, 0, 99)

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        shell.stop()
        ended.set()
        for thread in threads:
            thread.join(30)


# ---- the disk is full ----


@pytest.mark.needs_root
def test_a_disk_that_is_too_small_is_told_of_before_anything_is_fetched(tracker, run_peer, small_disk):
    disk = small_disk(2 << 20)
    content = Content.random(4 << 20, name="file")
    with FakeHolder(content, tracker=tracker.address) as holder:
        done = run_peer(["download file"], tracker=tracker, dir=disk / "d")
        assert done.status == 1 and "full" in done.stderr, done.stderr
        assert holder.ranges == []
        subprocess.run(["mount", "-o", "remount,size=20M", disk], check=True)
        run_peer(["download file"], tracker=tracker, dir=disk / "d").ok()
        assert (disk / "d/file").read_bytes() == content.data


def test_what_does_not_fit_takes_no_room_from_others_meanwhile(tracker, run_peer, tmp_path):
    """A file system that is asked for more than it has takes all of that before it refuses."""
    calls = tmp_path / "calls"
    traced = ["strace", "-f", "-qq", "-e", "trace=fallocate", "-o", calls]
    if subprocess.run([*traced, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("strace is not allowed here")
    huge = {**SMALL.record(), "size": shutil.disk_usage(tmp_path).total}
    tracker.client().register(7001, [huge])
    done = run_peer(["download file"], tracker=tracker, wrapper=traced)
    assert done.status == 1 and "full" in done.stderr, done.stderr
    assert calls.read_text() == ""


def fill(path):
    """Takes all room that is left."""
    with contextlib.suppress(OSError), open(path, "wb", buffering=0) as filler:
        for step in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while True:
                    filler.write(bytes(step))


@pytest.mark.needs_root
def test_a_disk_that_is_full_in_the_middle(tracker, start_shell, run_peer, small_disk):
    disk = small_disk(8 << 20)
    content = Content.random(96 * CHUNK, name="file")
    with FakeHolder(content, tracker=tracker.address) as holder:
        holder.freezes_at = 11 * CHUNK
        shell = start_shell(tracker=tracker, dir=disk / "d")
        shell.say("download file")
        wait_until(lambda: holder.sent_bytes > 10 * CHUNK)
        wait_until(lambda: len(on_disk(disk / "d", content)) * CHUNK == holder.sent_bytes)
        before = on_disk(disk / "d", content)
        part = disk / "d/.enxame/parts/1"
        for index in set(range(96)) - before:  # as on a file system that cannot reserve room
            subprocess.run(["fallocate", "-p", "-o", str(index * CHUNK), "-l", str(CHUNK), part], check=True)
        fill(disk / "filler")
        holder.thaw()
        assert shell.end() == 1 and re.search("no space|full", shell.err()), shell.log()
        (disk / "filler").unlink()
        asked = holder.chunk_requests(CHUNK)
        run_peer(["download file"], tracker=tracker, dir=disk / "d").ok()
        assert (disk / "d/file").read_bytes() == content.data
        assert len(before) >= 8 and not set(holder.chunk_requests(CHUNK) - asked) & before


# ---- the target ----


def test_a_target_that_appears_meanwhile_is_kept_and_so_is_what_was_fetched(tracker, start_shell, run_peer):
    with FakeHolder(SMALL, tracker=tracker.address) as holder:
        holder.freezes_at = 3 * CHUNK
        shell = start_shell(tracker=tracker)
        shell.say("download file")
        wait_until(lambda: holder.sent_bytes > 2 * CHUNK)
        (shell.dir / "file").write_text("somebody else's")
        holder.thaw()
        assert shell.end() == 1 and "as PATH" in shell.err()
        assert (shell.dir / "file").read_text() == "somebody else's"
        (shell.dir / "file").rename(shell.dir / "theirs")
        run_peer(["download file"], tracker=tracker, dir=shell.dir).ok()
        assert (shell.dir / "file").read_bytes() == SMALL.data
        assert holder.sent_bytes == SMALL.size


def test_a_folder_that_cannot_be_written(tracker, run_peer, tmp_path):
    wrapper = programs.without_rights()
    (tmp_path / "closed").mkdir(mode=0o555)
    with FakeHolder(SMALL, tracker=tracker.address) as holder:
        done = run_peer([f"download file as {tmp_path}/closed/file"], tracker=tracker, wrapper=wrapper)
        assert done.status == 1 and re.search("closed.*permission", done.stderr, re.IGNORECASE), done.stderr
        run_peer(["download file as other"], tracker=tracker, dir=done.dir, wrapper=wrapper).ok()
        assert (done.dir / "other").read_bytes() == SMALL.data
        assert holder.sent_bytes == SMALL.size  # nothing is fetched in vain
