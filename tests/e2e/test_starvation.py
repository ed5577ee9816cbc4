"""What there is too little of: holders that are slow without end, downloads without holders, descriptors, room on the disk."""

import contextlib
import resource
import sqlite3

import pytest

import client
from client import Content, FakeHolder
from programs import wait_until
from test_download import holder_rows

MIB = 1024 * 1024


class SlowHolder(FakeHolder):
    """Sends 2,000 bytes a second: far too little, but never so little that it counts as silent."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.rate_bytes_s = 2000


def test_slow_holders_do_not_take_up_all_the_room_for_chunks(tracker, start_shell):
    content = Content.random(48 * MIB, seed=7, name="file")
    with SlowHolder(content, tracker=tracker.address) as slow:
        shell = start_shell(tracker=tracker, args=["--chunk-size", "16M"])
        shell.say("download file")
        wait_until(lambda: slow.sent_bytes > 0)
        with FakeHolder(content, tracker=tracker.address) as good:
            assert shell.end(60) == 0, shell.log()
            assert (shell.dir / "file").read_bytes() == content.data
            assert holder_rows(shell.out())[good.address][0] == 3


def test_a_crowd_that_has_nothing_yet_does_not_keep_the_seeder_out(tracker, start_shell):
    content = Content.random(MIB, seed=9, name="file")
    with contextlib.ExitStack() as stack:
        crowd = [FakeHolder(content, tracker=tracker.address, held=set()) for _ in range(70)]
        for one in crowd:
            stack.enter_context(one)
        shell = start_shell(tracker=tracker)
        shell.say("download file")
        wait_until(lambda: sum(one.requests["have"] > 0 for one in crowd) >= 64)
        stack.enter_context(FakeHolder(content, tracker=tracker.address))
        assert shell.end(60) == 0, shell.log()
        assert (shell.dir / "file").read_bytes() == content.data


def test_the_last_chunk_is_not_left_to_slow_holders(tracker, start_shell):
    content = Content.random(MIB, seed=8, name="file")
    with (
        SlowHolder(content, tracker=tracker.address) as one,
        SlowHolder(content, tracker=tracker.address) as other,
    ):
        shell = start_shell(tracker=tracker, args=["--chunk-size", "1M"])
        shell.say("download file")
        wait_until(lambda: one.ranges and other.ranges)
        with FakeHolder(content, tracker=tracker.address):
            assert shell.end(60) == 0, shell.log()
            assert (shell.dir / "file").read_bytes() == content.data


def test_stalled_downloads_leave_their_turn_to_others(tracker, run_peer, start_peer, tmp_path):
    contents = [Content.random(1000, seed=seed, name=f"file-{seed}") for seed in range(4)]
    folder = run_peer(["status"], tracker=tracker, dir=tmp_path / "mine").ok().dir
    # Unfinished ones of an earlier run: of most, the holders are gone.
    wanted = [(bytes([number]) * 32, f"gone-{number}") for number in range(24)]
    wanted += [(bytes.fromhex(content.root), content.name) for content in contents]
    with contextlib.closing(sqlite3.connect(folder / ".enxame" / "state.db")) as db, db:
        for root, name in wanted:
            row = (root, 1000, name, name.encode())
            db.execute("INSERT INTO downloads (root, size, name, target, done) VALUES (?, ?, ?, ?, 0)", row)
    with contextlib.ExitStack() as holders:
        for content in contents:
            holders.enter_context(FakeHolder(content, tracker=tracker.address))
        start_peer(tracker=tracker, dir=folder)
        wait_until(lambda: all((folder / content.name).exists() for content in contents), 60)
    for content in contents:
        assert (folder / content.name).read_bytes() == content.data


@pytest.mark.parametrize("path", ["data", "any"])
def test_a_peer_without_descriptors_left_is_busy_and_not_without_its_files(tracker, start_peer, tmp_path, path):
    content = Content.random(100000, seed=10, name="file")
    (tmp_path / "file").write_bytes(content.data)
    peer = start_peer(tracker=tracker, files=[tmp_path / "file"])
    api = peer.client()  # its connection stays open
    wait_until(lambda: api.files())

    def ask():
        if path == "data":
            return api.data(content)
        body = {"size": content.size, "chunk_size": 65536, "wanted": client.bitmap({0}, 2)}
        return api.call("POST", f"/v1/files/{content.root}/any", body)

    assert ask().status_code in (200, 206)
    limits = resource.prlimit(peer.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(peer.process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    refused = ask()
    assert client.expect_problem(refused, 503).endswith(":busy") and refused.headers["Retry-After"]
    resource.prlimit(peer.process.pid, resource.RLIMIT_NOFILE, limits)
    assert ask().status_code in (200, 206)


@pytest.mark.needs_root
def test_a_peer_starts_on_a_full_disk_and_shares_what_it_has(tracker, start_peer, run_peer, small_disk, tmp_path):
    disk = small_disk(2 * MIB)
    (disk / "file").write_text("what it has")
    start_peer(tracker=tracker, files=[disk / "file"], dir=disk / "state").stop()
    with contextlib.suppress(OSError), open(disk / "ballast", "wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))
    peer = start_peer(tracker=tracker, files=[disk / "file"], dir=disk / "state")
    wait_until(lambda: tracker.client().files("file"))
    run_peer(["download file"], tracker=tracker, dir=tmp_path / "other").ok()
    assert (tmp_path / "other" / "file").read_text() == "what it has"
    peer.stop()
    done = run_peer(["status"], tracker=tracker, dir=disk / "new")
    assert done.status == 1 and "no space left" in done.stderr
