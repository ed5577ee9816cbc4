"""A swarm that is hard to stop: each fault ends with the right bytes.

    fault                                            test
    ---------------------------------------------    ---------------------------------------------------------------
    a holder dies                                    test_a_holder_dies_in_mid_body, here; of real ones:
                                                     test_download_faults: ..._of_64_mib_one_killed_one_a_liar
    freezes and comes back                           ..._freezes_in_mid_body, ..._frozen_at_any_moment, here;
                                                     test_download_faults: ..._is_stopped_and_continued (2)
    sends one byte a second                          test_download_faults: "trickle", beside a good one and alone
    trickles just above what counts as a stall       ..._loses_its_chunk, here; test_starvation: slow holders (3)
    wrong bytes in one chunk of 50                   ..._one_chunk_in_50 (3), here; in all: "wrong_bytes"
    a wrong layer                                    test_download_faults: "wrong_layer", "long_layer", "short_layer"
    claims what it does not hold                     test_download_faults: test_a_holder_that_claims_...
    claims chunks that it serves wrong               ..._one_chunk_in_50, here
    a have map too long, too short, in other chunks  test_download_faults: test_a_have_map_that_..., ..._in_other_chunks
    200 instead of 206                               test_download_faults: "status_200", "plain_200"
    closes after each answer                         ..._closes_after_each_answer, here; in mid-body: "cut"
    takes connections and never answers              ..._never_answers, here; "silent"
    503 without end                                  test_download_faults: "busy"; ..._busy_for_a_day, here
    garbage instead of HTTP                          test_download_faults: "garbage", "huge_headers"
    the only seeder leaves                           ..._only_seeder_leaves (2), here
    all holders leave, one returns                   ..._all_holders_die_and_one_returns, here;
                                                     test_download_faults: test_the_only_holder_leaves_and_returns
    the leecher is killed                            ..._killed_again_and_again, here;
                                                     test_download_faults: kill -9 (5)
    the disk is full                                 ..._no_room_below_the_limit (2), here;
                                                     test_download_faults: on small disks (2)
    two peers on one machine                         ..._two_peers_on_one_machine, here
    twice at once in one peer                        ..._same_download_... (2), here
"""

import contextlib
import random
import re
import resource
import shutil
import signal
import socket
import sqlite3
import time

import pytest

import client
from client import Content, FakeHolder
from inspector import Inspector
from programs import random_file, sha256_file, wait_until
from test_download import CHUNK, holder_rows, share

MIB = 1 << 20
FIFTY = Content.random(100 * CHUNK - 5, seed=50, name="file")


def done_bytes(api):
    return sum(one["done_bytes"] for one in api.status()["downloads"])


def states(api):
    return [one["state"] for one in api.status()["downloads"]]


def on_disk(peer_dir, content, chunk_size=CHUNK):
    """The chunks whose bytes lie in the one part file."""
    parts = peer_dir / ".enxame/parts"
    data = b"".join(part.read_bytes() for part in parts.iterdir()) if parts.exists() else b""
    count = content.chunk_count(chunk_size)
    return {n for n in range(count) if data[n * chunk_size : (n + 1) * chunk_size] == content.chunk(n, chunk_size)}


def at_rest(look, for_s=0.5):
    """What is seen when it has been the same for so long: what was under way in this process, too, is over then."""
    seen, since = look(), time.monotonic()
    while time.monotonic() - since < for_s:
        time.sleep(0.01)
        now = look()
        if now != seen:
            seen, since = now, time.monotonic()
    return seen


def assert_is(path, content):
    same = path.read_bytes() == content.data
    assert same, path  # without megabytes of difference


# ---- holders that die or freeze ----


@pytest.mark.sanitized
@pytest.mark.parametrize("others", [0, 1])
def test_a_holder_dies_in_mid_body(tracker, start_shell, others):
    with contextlib.ExitStack() as stack:
        dying = stack.enter_context(FakeHolder(FIFTY, tracker=tracker.address))
        for _ in range(others):
            stack.enter_context(FakeHolder(FIFTY, tracker=tracker.address)).rate_bytes_s = 4 * MIB
        dying.rate_bytes_s = 4 * MIB
        shell = start_shell(tracker=tracker)
        shell.say("download file")
        wait_until(lambda: dying.sent_bytes > 10 * CHUNK)
        dying.stop(unregister=False)
        if not others:
            written = on_disk(shell.dir, FIFTY)
            again = stack.enter_context(FakeHolder(FIFTY, tracker=tracker.address))
        assert shell.end() == 0, shell.log()
        assert_is(shell.dir / "file", FIFTY)
        assert not holder_rows(shell.out())[dying.address][2].startswith("banned")
        if not others:
            assert not set(again.chunk_requests(CHUNK)) & written


@pytest.mark.parametrize("others", [0, 1])
def test_a_holder_freezes_in_mid_body(tracker, start_shell, others):
    with contextlib.ExitStack() as stack:
        frozen = stack.enter_context(FakeHolder(FIFTY, tracker=tracker.address))
        for _ in range(others):
            stack.enter_context(FakeHolder(FIFTY, tracker=tracker.address)).rate_bytes_s = 4 * MIB
        frozen.rate_bytes_s = 4 * MIB
        shell = start_shell(tracker=tracker)
        shell.say("download file")
        wait_until(lambda: frozen.sent_bytes > 10 * CHUNK)
        frozen.freeze()
        if others:  # who is enough
            assert shell.end() == 0, shell.log()
        else:
            time.sleep(2)
            assert not (shell.dir / "file").exists()
            frozen.thaw()
            assert shell.end() == 0, shell.log()
        assert_is(shell.dir / "file", FIFTY)
        assert not holder_rows(shell.out())[frozen.address][2].startswith("banned")


def test_holders_are_frozen_at_any_moment(tracker, start_peer, start_shell, tmp_path):
    path = random_file(tmp_path / "src/big", 48 * MIB)
    peers = [share(start_peer, tracker, path) for _ in range(2)]
    generator = random.Random(4)
    for number in range(3):
        shell = start_shell(tracker=tracker)
        shell.say("download big")
        time.sleep(generator.uniform(0, 0.15))
        frozen = peers[number % 2]
        frozen.send(signal.SIGSTOP)
        try:
            wait_until((shell.dir / "big").exists)  # the other one is enough
        finally:
            frozen.send(signal.SIGCONT)
        assert sha256_file(shell.dir / "big") == sha256_file(path)
        assert shell.end() == 0
        (shell.dir / "big").unlink()


# ---- holders that are slow, mute or always busy ----


@pytest.mark.parametrize("rate", [700, 30_000])
def test_a_holder_that_trickles_loses_its_chunk(tracker, run_peer, rate):
    """It would need minutes for one chunk, and never stalls."""
    content = Content.random(24 * MIB, seed=6, name="file")
    with FakeHolder(content, tracker=tracker.address) as slow, FakeHolder(content, tracker=tracker.address) as fast:
        slow.rate_bytes_s, fast.rate_bytes_s = rate, 16 * MIB
        done = run_peer(["download file"], tracker=tracker, args=["--chunk-size", "4M"], timeout_s=45).ok()
        assert_is(done.dir / "file", content)
        assert holder_rows(done.stdout)[fast.address][:2] == (6, 0)


def test_an_address_that_takes_connections_and_never_answers(tracker, run_peer):
    others = tracker.client()
    with (
        socket.create_server(("127.0.0.1", 0), backlog=64) as mute,
        FakeHolder(FIFTY, tracker=tracker.address) as good,
    ):
        good.rate_bytes_s = 16 * MIB
        others.register(mute.getsockname()[1], [FIFTY.record()], "127.0.0.1")
        done = run_peer(["download file"], tracker=tracker).ok()
        assert_is(done.dir / "file", FIFTY)
        assert holder_rows(done.stdout)[good.address][0] == 100


@pytest.mark.parametrize("retry_after_s", [86_400, -5, "soon", "Fri, 31 Dec 2099 23:59:59 GMT"])
def test_a_holder_that_is_busy_for_a_day(tracker, run_peer, retry_after_s):
    """Alone it is asked again: test_download_faults."""
    with FakeHolder(FIFTY, tracker=tracker.address) as busy, FakeHolder(FIFTY, tracker=tracker.address) as good:
        busy.fail("busy", on=("data", "layer"), retry_after_s=retry_after_s)
        good.rate_bytes_s = 8 * MIB
        done = run_peer(["download file"], tracker=tracker).ok()
        assert_is(done.dir / "file", FIFTY)
        rows = holder_rows(done.stdout)
        assert rows[good.address][:2] == (100, 0) and rows.get(busy.address, (0, 0))[:2] == (0, 0)
        assert busy.requests["data"] + busy.requests["any"] + busy.requests["layer"] < 200


@pytest.mark.parametrize("closes", ["said", "unsaid"])
def test_a_holder_that_closes_after_each_answer(tracker, run_peer, closes):
    with FakeHolder(FIFTY, tracker=tracker.address) as holder:
        holder.closes = closes
        done = run_peer(["download file"], tracker=tracker).ok()
        assert_is(done.dir / "file", FIFTY)
        chunks, faults, note = holder_rows(done.stdout)[holder.address]
        assert chunks == 100 and not note.startswith("banned")
        assert holder.sent_bytes == FIFTY.size and (closes == "unsaid" or faults == 0)


# ---- holders that lie about one chunk in 50 ----


@pytest.mark.sanitized
@pytest.mark.parametrize("held", [None, set(range(60))], ids=["claims all", "claims some"])
def test_wrong_bytes_in_one_chunk_in_50_by_the_only_holder_until_an_honest_one_comes(tracker, start_shell, held):
    with FakeHolder(FIFTY, tracker=tracker.address, held=held) as liar:
        liar.wrong_chunks = {7, 57}
        liar.rate_bytes_s = 16 * MIB
        shell = start_shell(tracker=tracker)
        shell.say("download file")
        wait_until(lambda: f"{liar.address} is banned" in shell.err())
        kept, asked = at_rest(lambda: (on_disk(shell.dir, FIFTY), len(liar.ranges)))
        assert not kept & liar.wrong_chunks and not (shell.dir / "file").exists()
        with FakeHolder(FIFTY, tracker=tracker.address) as honest:
            assert shell.end() == 0, shell.log()
            assert_is(shell.dir / "file", FIFTY)
            assert set(honest.chunk_requests(CHUNK)) == set(range(100)) - kept  # what was right is not fetched again
        rows = holder_rows(shell.out())
        assert rows[liar.address][0] == len(kept) and rows[liar.address][2].startswith("banned")
        assert len(liar.ranges) == asked  # nothing more is asked of it


def test_a_liar_about_one_chunk_in_50_beside_an_honest_holder(tracker, start_shell):
    """The honest one has the wrong chunks only after the liar was caught."""
    honest_at_first = set(range(100)) - {7, 57}
    with (
        FakeHolder(FIFTY, tracker=tracker.address) as liar,
        FakeHolder(FIFTY, tracker=tracker.address, held=honest_at_first) as honest,
    ):
        liar.wrong_chunks = {7, 57}
        liar.rate_bytes_s = honest.rate_bytes_s = 8 * MIB
        shell = start_shell(tracker=tracker)
        shell.say("download file")
        wait_until(lambda: f"{liar.address} is banned" in shell.err())
        honest.add_held({7, 57})
        assert shell.end() == 0, shell.log()
        assert_is(shell.dir / "file", FIFTY)
        rows = holder_rows(shell.out())
        assert rows[honest.address][1] == 0 and rows[liar.address][2].startswith("banned")


def test_a_crowd_of_which_each_lies_about_another_chunk_in_50(tracker, run_peer):
    with contextlib.ExitStack() as stack:
        for number in range(8):
            liar = stack.enter_context(FakeHolder(FIFTY, tracker=tracker.address))
            liar.wrong_chunks = {number, number + 50}
        honest = stack.enter_context(FakeHolder(FIFTY, tracker=tracker.address))
        honest.rate_bytes_s = 2 * MIB
        done = run_peer(["download file"], tracker=tracker).ok()
        assert_is(done.dir / "file", FIFTY)
        rows = holder_rows(done.stdout)
        assert rows[honest.address][1] == 0 and sum(row[0] for row in rows.values()) == 100


# ---- the seeder leaves, everybody leaves ----


@pytest.mark.sanitized
@pytest.mark.parametrize("how", ["says goodbye", "dies"])
def test_the_only_seeder_leaves_when_each_leecher_has_a_part(tracker, start_shell, how):
    """Three leechers get a third each, the others frozen meanwhile; together they have all."""
    thirds = [set(range(start, 100, 3)) for start in range(3)]
    shells = []
    with FakeHolder(FIFTY, tracker=tracker.address, held=thirds[0]) as seeder:
        for third in thirds:
            seeder.set_held(third)
            shell = start_shell(tracker=tracker)
            shells.append(shell)
            shell.say("download file")
            api, size = shell.client(tracker), sum(len(FIFTY.chunk(index, CHUNK)) for index in third)
            wait_until(lambda api=api, size=size: done_bytes(api) == size)
            shell.send(signal.SIGSTOP)
        seeder.stop(unregister=how == "says goodbye")
    for shell in shells:
        shell.send(signal.SIGCONT)
    for shell in shells:
        wait_until((shell.dir / "file").exists, what=shell.log)
        assert_is(shell.dir / "file", FIFTY)
    for shell in shells:
        assert shell.end() == 0, shell.log()


def chunks_of(api, content):
    """What a peer says it has, in chunks of CHUNK."""
    answer = api.get(f"/v1/files/{content.root}/have?size={content.size}")
    if answer.status_code != 200:
        return set()
    have, count = answer.json(), content.chunk_count(CHUNK)
    if have["complete"]:
        return set(range(count))
    return client.bitmap_indexes(have["bitmap"], content.chunk_count(have["chunk_size"]))


def test_the_only_seeder_leaves_as_soon_as_the_swarm_has_everything(tracker, start_shell):
    with FakeHolder(FIFTY, tracker=tracker.address) as seeder:
        seeder.rate_bytes_s = 3 * MIB
        shells = [start_shell(tracker=tracker, args=["--chunk-size", "64K"]) for _ in range(4)]
        for shell in shells:
            shell.say("download file")
        apis = [shell.client(tracker) for shell in shells]
        wait_until(lambda: len(set().union(*(chunks_of(api, FIFTY) for api in apis))) == 100)
        seeder.stop(unregister=False)
    for shell in shells:
        wait_until((shell.dir / "file").exists, what=shell.log)
        assert_is(shell.dir / "file", FIFTY)
    for shell in shells:
        assert shell.end() == 0, shell.log()


def test_all_holders_die_and_one_returns(tracker, start_shell):
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(FakeHolder(FIFTY, tracker=tracker.address)) for _ in range(3)]
        for holder in holders:
            holder.rate_bytes_s = MIB
        shell = start_shell(tracker=tracker)
        shell.say("download file")
        wait_until(lambda: sum(holder.sent_bytes for holder in holders) > 20 * CHUNK)
        for holder in holders:
            holder.stop(unregister=False)
        api = shell.client(tracker)
        wait_until(lambda: states(api) == ["stalled"])  # it says so to others,
        wait_until(lambda: "stalled" in shell.err())  # and here
        written = on_disk(shell.dir, FIFTY)
        assert shell.alive and len(written) >= 10
        with FakeHolder(FIFTY, tracker=tracker.address) as again:
            assert shell.end() == 0, shell.log()
            assert_is(shell.dir / "file", FIFTY)
            assert set(again.chunk_requests(CHUNK)) == set(range(100)) - written


# ---- the leecher itself is killed ----


def record_of(peer_dir, scratch):
    """(chunk size, recorded chunks) of the one download, from a copy of the database: the peer's stays untouched."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for path in (peer_dir / ".enxame").glob("state.db*"):
        if not path.name.endswith("-shm"):
            shutil.copy(path, scratch)
    if not (scratch / "state.db").exists():
        return CHUNK, set()
    sql = "SELECT chunk_size, verified FROM downloads JOIN layers USING (number) WHERE NOT done"
    with contextlib.closing(sqlite3.connect(scratch / "state.db")) as db, contextlib.suppress(sqlite3.OperationalError):
        row = db.execute(sql).fetchone()
        if row:
            octets = row[1] or b""
            return row[0], {n for n in range(8 * len(octets)) if octets[n // 8] & 0x80 >> n % 8}
    return CHUNK, set()


class Victim:
    """One download whose peer is killed again and again: what is fetched in each life, what was there before."""

    def __init__(self, content, holders, start_shell, tracker, peer_dir, scratch):
        self.content, self.holders, self.dir, self.scratch = content, holders, peer_dir, scratch
        self.start = lambda: start_shell(tracker=tracker, dir=peer_dir)
        self.chunk_size, self.recorded, self.written = CHUNK, set(), set()
        self.recorded_kills = self.forgotten = self.lives = 0

    def begin(self):
        self.asked_before = [len(holder.ranges) for holder in self.holders]
        self.sent_before = sum(holder.sent_bytes for holder in self.holders)
        self.lives += 1
        shell = self.start()
        shell.say("download file")  # it goes on without, too
        return shell

    def sent(self):
        """In this life."""
        return sum(holder.sent_bytes for holder in self.holders) - self.sent_before

    def asked(self):
        """The chunks of which anything was asked in this life."""
        new = [one for holder, before in zip(self.holders, self.asked_before) for one in holder.ranges[before:]]
        return {n for first, last, _ in new for n in range(first // self.chunk_size, last // self.chunk_size + 1)}

    def check(self):
        """After a life: nothing was asked for that lay here before it, and nothing of that is gone."""
        again = self.asked() & self.written
        assert not again & self.recorded, f"life {self.lives}: recorded chunks were fetched again: {sorted(again)}"
        assert not again, f"life {self.lives}: chunks on disk were fetched rather than hashed: {sorted(again)}"

    def has_recorded(self):
        """Whether it has recorded more in this life, which it does once a second."""
        with contextlib.closing(sqlite3.connect(f"file:{self.dir}/.enxame/state.db?mode=ro", uri=True)) as db:
            rows = db.execute("SELECT verified FROM downloads WHERE NOT done").fetchall()
        octets = rows[0][0] or b"" if rows else b""
        return sum(octet.bit_count() for octet in octets) > len(self.recorded)

    def examine(self):
        """What the killed one left."""
        chunk_size, recorded = record_of(self.dir, self.scratch)
        written = on_disk(self.dir, self.content, chunk_size)
        assert recorded <= written, f"recorded, but not there: {sorted(recorded - written)}"
        assert self.recorded <= recorded and self.written <= written, "something was lost"
        self.chunk_size, self.recorded, self.written = chunk_size, recorded, written
        self.recorded_kills += bool(recorded)

    def forget(self, generator):
        """Half of the record goes, as if the end had come sooner after the bytes were written."""
        forgotten = {n for n in self.recorded if generator.random() < 0.5}
        with contextlib.closing(sqlite3.connect(self.dir / ".enxame/state.db")) as db, db:
            (number, verified), = db.execute("SELECT number, verified FROM downloads WHERE NOT done")
            octets = bytearray(verified or b"")
            for n in forgotten:
                octets[n // 8] &= ~(0x80 >> n % 8)
            db.execute("UPDATE downloads SET verified = ? WHERE number = ?", (bytes(octets), number))
        self.recorded -= forgotten
        self.forgotten += len(forgotten)


def kill_again_and_again(tracker, start_shell, tmp_path, kills, seed):
    generator = random.Random(seed)
    content = Content.random(kills * MIB + 5, seed=seed, name="file")
    share_of_a_life = content.size * 0.8 / kills
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(FakeHolder(content, tracker=tracker.address)) for _ in range(3)]
        holders[1].serves_any = False
        holders[2].wrong_chunks = set(range(3, content.chunk_count(CHUNK), 8))
        victim = Victim(content, holders, start_shell, tracker, tmp_path / "d", tmp_path / "scratch")
        inspector = Inspector(content, tracker)
        stack.callback(inspector.ended.set)
        inspector.start()
        for number in range(kills):
            until_recorded = number % 3 == 2
            rate = (0.7 if until_recorded else generator.choice((0.7, 2, 6))) * MIB / len(holders)
            for holder in holders:
                holder.rate_bytes_s = int(rate)
            shell = victim.begin()
            if number % 5 == 4:  # while it starts, and hashes what it finds
                time.sleep(generator.uniform(0, 0.25))
            else:
                inspector.peer_id, inspector.life = shell.id, number
                enough = generator.uniform(0, 2 * share_of_a_life)
                lived = victim.has_recorded if until_recorded else lambda enough=enough: victim.sent() >= enough
                wait_until(lambda lived=lived: (victim.dir / "file").exists() or lived())
                time.sleep(generator.uniform(0, 0.05))
            inspector.life = None
            shell.kill()
            if (victim.dir / "file").exists():
                break
            victim.check()
            victim.examine()
            if victim.recorded and until_recorded:
                victim.forget(generator)
        lives = victim.lives
        for holder in holders:
            holder.rate_bytes_s = 0
        shell = victim.begin()
        inspector.peer_id, inspector.life = shell.id, kills
        wait_until((victim.dir / "file").exists, 60, what=shell.log)
        victim.check()
        assert_is(victim.dir / "file", content)
        inspector.end()
        assert shell.end() == 0, shell.log()
    assert lives > kills * 2 // 3 and victim.recorded_kills and victim.forgotten, vars(victim)
    assert inspector.checked_bytes > MIB and inspector.checked_maps > kills


@pytest.mark.sanitized
def test_the_leecher_is_killed_again_and_again(tracker, start_shell, tmp_path):
    kill_again_and_again(tracker, start_shell, tmp_path, 6, seed=1)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [2, 3])
def test_the_leecher_is_killed_again_and_again_at_50_moments(tracker, start_shell, tmp_path, seed):
    kill_again_and_again(tracker, start_shell, tmp_path, 50, seed)


# ---- no room ----


def test_no_room_below_the_limit_from_the_start(tracker, run_peer):
    """A limit on the size of files instead of a full disk, which needs root."""
    with FakeHolder(FIFTY, tracker=tracker.address) as holder:
        wrapper = ["prlimit", f"--fsize={2 * MIB}"]
        done = run_peer(["download file"], tracker=tracker, wrapper=wrapper)
        assert done.status == 1 and re.search("full|space|too large|limit", done.stderr), (done.status, done.stderr)
        assert not (done.dir / "file").exists() and holder.sent_bytes == 0
        run_peer(["download file"], tracker=tracker, dir=done.dir).ok()
        assert_is(done.dir / "file", FIFTY)


def test_no_room_below_the_limit_in_the_middle(tracker, start_shell, run_peer):
    with FakeHolder(FIFTY, tracker=tracker.address) as holder:
        holder.rate_bytes_s = 2 * MIB
        shell = start_shell(tracker=tracker)
        shell.say("download file")
        wait_until(lambda: holder.sent_bytes > 20 * CHUNK)
        resource.prlimit(shell.process.pid, resource.RLIMIT_FSIZE, (MIB, resource.RLIM_INFINITY))
        assert shell.end() == 1 and re.search("full|space|too large|limit", shell.err()), shell.log()
        kept = on_disk(shell.dir, FIFTY)
        asked = len(holder.ranges)
        holder.rate_bytes_s = 0
        run_peer(["download file"], tracker=tracker, dir=shell.dir).ok()
        assert_is(shell.dir / "file", FIFTY)
        again = {n for first, last, _ in holder.ranges[asked:] for n in range(first // CHUNK, last // CHUNK + 1)}
        assert len(kept) >= 10 and not again & kept


# ---- the same file, several times at once ----


def test_two_peers_on_one_machine_download_the_same_file(tracker, start_shell):
    with FakeHolder(FIFTY, tracker=tracker.address) as holder:
        holder.rate_bytes_s = 6 * MIB
        shells = [start_shell(tracker=tracker) for _ in range(2)]
        for shell in shells:
            shell.say("download file")
        for shell in shells:
            wait_until((shell.dir / "file").exists, what=shell.log)
            assert_is(shell.dir / "file", FIFTY)
        for shell in shells:
            assert shell.end() == 0, shell.log()
        assert holder.sent_bytes <= 2 * FIFTY.size


def other_peer(tracker, holder):
    """The API of the one peer that is not the holder, once the tracker knows it."""
    (row,) = wait_until(lambda: [row for row in tracker.client().peers() if row["id"] != holder.id])
    return client.Peer(client.host_port(row["host"], row["port"]))


def test_the_same_download_twice_at_once(tracker, open_prompt):
    with FakeHolder(FIFTY, tracker=tracker.address) as holder:
        holder.rate_bytes_s = 8 * MIB
        prompt = open_prompt(tracker)
        for line in ("download file", f"download {FIFTY.root}", "download file as file"):
            prompt.run(line)
        wait_until((prompt.dir / "file").exists)
        assert_is(prompt.dir / "file", FIFTY)
        assert len(states(other_peer(tracker, holder))) == 1 and holder.sent_bytes == FIFTY.size
        assert prompt.end() == 0


def test_the_same_download_at_once_to_several_places(tracker, open_prompt):
    with FakeHolder(FIFTY, tracker=tracker.address) as holder:
        holder.rate_bytes_s = 8 * MIB
        prompt = open_prompt(tracker)
        for line in ("download file", "download file as other", "download file as in/a/folder"):
            prompt.run(line)
        api = other_peer(tracker, holder)
        wait_until(lambda: len(states(api)) == 3)
        for name in ("file", "other", "in/a/folder"):
            wait_until((prompt.dir / name).exists)
            assert_is(prompt.dir / name, FIFTY)
        assert prompt.end() == 0
        assert holder.sent_bytes <= 3 * FIFTY.size
