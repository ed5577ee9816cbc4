"""What a peer is given that it cannot use, files that change under it, and whose state is whose."""

import os
import re
import shutil
import signal
import socket
import threading
import time

import pytest

import programs
from client import Content, FakeHolder, Identity, expect, expect_problem
from programs import random_file, wait_until
from test_download import share
from test_peer_tracker import kept_port

NOWHERE = "127.0.0.1:9"  # nobody listens there


@pytest.fixture
def closed_port():
    """A port of this host at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


# ---- the command line ----


@pytest.mark.parametrize(
    ("ip", "port", "args", "word"),
    [
        ("127.0.0.1", "65536", [], "65536"),
        ("127.0.0.1", "-1", [], "-1"),
        ("127.0.0.1", "http", [], "http"),
        ("127.0.0.1", "", [], "port"),
        ("nowhere", "0", [], "nowhere"),
        ("1.2.3", "0", [], "1.2.3"),
        ("[::1]", "0", [], "[::1]"),
        ("127.0.0.1", "0", ["--tracker", "host"], "--tracker"),
        ("127.0.0.1", "0", ["--tracker", "host:0"], "--tracker"),
        ("127.0.0.1", "0", ["--tracker", "host:70000"], "--tracker"),
        ("127.0.0.1", "0", ["--chunk-size", "5000"], "--chunk-size"),
        ("127.0.0.1", "0", ["--chunk-size", "32M"], "--chunk-size"),
        ("127.0.0.1", "0", ["--advertise", "x"], "--advertise"),
        ("127.0.0.1", "0", ["--dir", ""], "--dir"),
        ("127.0.0.1", "0", ["--nonsense"], "--nonsense"),
        ("127.0.0.1", "0", ["--daemon"], "--daemon"),
    ],
)
def test_usage_errors_exit_with_2_and_leave_nothing(run_peer, tmp_path, ip, port, args, word):
    done = run_peer(["status"], tracker=NOWHERE, host=ip, port=port, args=args, dir=tmp_path / "d")
    assert done.status == 2 and word in done.stderr and done.stdout == ""
    assert not done.dir.exists()


def test_a_port_that_is_taken(run_peer, tracker):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_peer(["status"], tracker=tracker, port=port)
    assert done.status == 1 and str(port) in done.stderr
    assert tracker.client().peers() == []


def test_an_address_that_is_not_of_this_machine(run_peer, tracker):
    done = run_peer(["status"], tracker=tracker, host="192.0.2.1")
    assert done.status == 1 and "192.0.2.1" in done.stderr


def test_a_dir_that_is_a_file_or_cannot_be_made(run_peer, tracker, tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file/below"):
        done = run_peer(["status"], tracker=tracker, dir=place)
        assert done.status == 1 and str(tmp_path / "file") in done.stderr, done.stderr
    (tmp_path / "closed").mkdir(mode=0o555)
    done = run_peer(["status"], tracker=tracker, dir=tmp_path / "closed/d", wrapper=programs.without_rights())
    assert done.status == 1 and "closed" in done.stderr


def test_commands_that_make_no_sense_fail_and_the_others_run(run_peer, tracker):
    lines = [
        "nonsense", "download", "download a b c d e", "owners", "share", "unshare nothing", "'unclosed", "x" * 9000,
        "share /nonexistent/file", "unshare #7",
    ]  # fmt: skip
    for line in lines:
        done = run_peer(tracker=tracker, stdin=line + "\nstatus\n")
        assert done.status == 1 and done.stderr and done.stdout, line
    assert run_peer(tracker=tracker, stdin="\n  \n# a comment\nstatus\n").status == 0


def test_input_that_is_no_text(run_peer, tracker):
    done = run_peer(tracker=tracker, stdin="\x00\x01\x02\nstatus\x00\n\x7f\x1b[2J\nstatus\n")
    assert done.status == 1 and "\x1b" not in done.stderr and done.stdout


# ---- files that cannot be shared ----


@pytest.mark.sanitized
def test_a_bad_file_among_good_ones(start_peer, tracker, tmp_path):
    good = [random_file(tmp_path / f"good{n}", 1000, seed=n) for n in range(2)]
    closed = random_file(tmp_path / "closed", 1000)
    closed.chmod(0)
    os.mkfifo(tmp_path / "fifo")
    bad = [closed, tmp_path / "missing", tmp_path / "fifo", "/dev/null", tmp_path / "good0/below"]
    peer = start_peer(tracker=tracker, files=[good[0], *bad, good[1]], wrapper=programs.without_rights())
    others = tracker.client()
    wait_until(lambda: {row["name"] for row in others.files()} == {"good0", "good1"})
    for path in bad:
        wait_until(lambda path=path: str(path) in peer.err(), what=path)
    assert {row["name"] for row in peer.client().files()} == {"good0", "good1"}


def test_a_script_that_was_given_a_bad_file_fails_and_still_runs(run_peer, tracker, tmp_path):
    good = random_file(tmp_path / "good", 1000)
    done = run_peer(["shared"], tracker=tracker, files=[good, tmp_path / "missing"])
    assert done.status == 1 and "missing" in done.stderr and "good" in done.stdout


def test_the_same_file_twice_is_one(run_peer, start_peer, tracker, tmp_path):
    path = random_file(tmp_path / "file", 1000)
    (tmp_path / "link").symlink_to(path)
    peer = start_peer(tracker=tracker, files=[path, path, tmp_path / "../" / tmp_path.name / "file"])
    wait_until(lambda: tracker.client().files())
    assert [row["name"] for row in peer.client().files()] == ["file"]
    assert tracker.client().files()[0]["holders"] == 1


def test_a_folder_is_shared_without_what_leads_out_of_it(start_peer, tracker, tmp_path):
    folder = tmp_path / "folder"
    random_file(folder / "a/b/deep", 100)
    random_file(folder / ".enxame/secret", 100)
    random_file(folder / "a/.enxame/hidden", 100)
    random_file(tmp_path / "outside/private", 100)
    (folder / "file").symlink_to(tmp_path / "outside/private")
    (folder / "dir").symlink_to(tmp_path / "outside")
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "fifo")
    (folder / "empty").touch()
    peer = start_peer(tracker=tracker, files=[folder])
    wait_until(lambda: len(peer.client().files()) >= 2)
    time.sleep(0.3)
    assert {row["name"] for row in peer.client().files()} == {"folder/a/b/deep", "folder/empty"}


def test_odd_names_are_shared_and_unprintable_ones_are_told_of(start_peer, tracker, tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    good = [" blanks ", "quote'\"", "ünïcödé ✓", "n" * 255, "-dash", "back\\slash", "%00", "a\u00a0b", "*?"]
    bad = [b"new\nline", b"esc\x1b[31mred", b"tab\t", b"del\x7f", b"latin\xe9", b"c1\xc2\x85", "rtl\u202egpj".encode()]
    for name in good:
        (folder / name).write_text(name)
    for name in bad:
        with open(os.fsencode(folder) + b"/" + name, "w") as file:
            file.write("x")
    peer = start_peer(tracker=tracker, files=[folder])
    others = tracker.client()
    wait_until(lambda: len(others.files()) == len(good))
    assert {row["name"] for row in others.files()} == {"f/" + name for name in good}
    wait_until(lambda: peer.err().count("not shared") >= len(bad))
    err = peer.err_path.read_bytes()
    assert b"\x1b" not in err and b"\x7f" not in err and b"\xe9" not in err and "\u202e".encode() not in err
    assert b"new\nline" not in err


# ---- files that change while they are shared ----


def changes():
    return {
        "removed": lambda path: path.unlink(),
        "shorter": lambda path: os.truncate(path, 100_000),
        "longer": lambda path: path.write_bytes(path.read_bytes() + b"more"),
        "other bytes": lambda path: path.write_bytes(bytes(path.stat().st_size)),
        "replaced": lambda path: os.replace(random_file(path.parent / "new", 300_000, seed=9), path),
        "a folder": lambda path: (path.unlink(), path.mkdir()),
        "a link": lambda path: (path.rename(path.parent / "moved"), path.symlink_to(path.parent / "moved")),
        "closed": lambda path: path.chmod(0),
    }


@pytest.mark.parametrize("change", changes())
def test_a_file_that_changes_is_no_longer_served_as_what_it_was(start_peer, tracker, tmp_path, change):
    path = random_file(tmp_path / "src/file", 300_000)
    content = Content.of_file(path)
    peer = share(start_peer, tracker, path, wrapper=programs.without_rights())
    api, others = peer.client(), tracker.client()
    changes()[change](path)
    expect_problem(api.data(content, 0, 99), 404)
    expect_problem(api.layer(content, 16384), 404)
    wait_until(lambda: others.owners(content.root) is None)
    if change in ("shorter", "longer", "other bytes", "replaced"):
        new = Content.of_file(path)
        wait_until(lambda: others.holder_ids(new) == {peer.id})
        assert api.fetch(new) == new.data
    else:
        assert api.files() == []
    assert "file" in peer.err()


@pytest.mark.sanitized
def test_changes_are_seen_without_anybody_asking(start_peer, tracker, tmp_path):
    paths = [random_file(tmp_path / f"src/file{n}", 1000, seed=n) for n in range(3)]
    peer = share(start_peer, tracker, paths)
    others, gone, changed = tracker.client(), Content.of_file(paths[0]), Content.of_file(paths[1])
    paths[0].unlink()
    paths[1].write_bytes(b"new")
    wait_until(lambda: others.owners(gone.root) is None and others.owners(changed.root) is None)
    wait_until(lambda: others.holder_ids(Content(b"new")) == {peer.id})
    assert {row["name"] for row in others.files()} == {"file1", "file2"}


def test_a_file_that_changes_during_a_download_ends_it_by_another_holder(start_peer, start_shell, tracker, tmp_path):
    paths = [random_file(tmp_path / folder / "file", 4_000_000) for folder in ("a", "b")]
    content = Content.of_file(paths[0])
    share(start_peer, tracker, paths[0])
    with FakeHolder(content, tracker=tracker.address) as slow:
        slow.pace_s = 0.3
        shell = start_shell(tracker=tracker)
        slow.fail("busy", times=1)
        shell.say("download file")
        wait_until(lambda: slow.requests["have"] > 0)
        with open(paths[0], "r+b") as file:
            file.write(bytes(4_000_000))
        slow.pace_s = 0
        assert shell.end() == 0
    assert (shell.dir / "file").read_bytes() == content.data


def test_a_file_that_changes_while_it_is_hashed(start_peer, tracker, tmp_path):
    path = random_file(tmp_path / "file", 8 << 20)
    stop = threading.Event()

    def write():
        while not stop.is_set():
            with open(path, "r+b") as file:
                file.write(os.urandom(16))
            time.sleep(0.005)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        peer = start_peer(tracker=tracker, files=[path])
        wait_until(lambda: "file" in peer.err() or peer.client().files())
        for row in peer.client().files():
            answer = peer.client().get(f"/v1/files/{row['root']}/data?size={row['size']}")
            assert answer.status_code == 404 or Content(answer.content).root == row["root"]
    finally:
        stop.set()
        writer.join()
    content = Content.of_file(path)
    if peer.client().files() == [] and "changed" not in peer.err():
        return  # given up, and told of
    wait_until(lambda: peer.id in tracker.client().holder_ids(content) or re.search("changed", peer.err()))


# ---- trackers that are not there ----


def test_a_tracker_that_is_not_there(start_peer, start_tracker, closed_port, tmp_path):
    path = random_file(tmp_path / "file", 1000)
    peer = start_peer(tracker=f"127.0.0.1:{closed_port}", files=[path])
    wait_until(lambda: str(closed_port) in peer.err())
    wait_until(lambda: peer.client().status()["files"] == 1)


def test_a_tracker_that_comes_later(start_peer, start_tracker, tmp_path):
    path = random_file(tmp_path / "file", 1000)
    with kept_port() as port:
        peer = start_peer(tracker=f"127.0.0.1:{port}", files=[path])
        wait_until(lambda: str(port) in peer.err())
        tracker = start_tracker(listen=f"127.0.0.1:{port}")
    wait_until(lambda: tracker.client().holder_ids(Content.of_file(path)) == {peer.id})


def test_commands_that_need_a_tracker_say_that_there_is_none(run_peer, closed_port):
    for command in ("peers", "search x", "owners x", "download x"):
        done = run_peer([command], tracker=f"127.0.0.1:{closed_port}")
        assert done.status == 1 and str(closed_port) in done.stderr, (command, done.stderr)


# ---- whose state, whose id ----


@pytest.mark.sanitized
def test_a_second_peer_on_the_same_dir_is_refused(start_peer, run_peer, tracker):
    peer = start_peer(tracker=tracker)
    done = run_peer(["status"], tracker=tracker, dir=peer.dir)
    assert done.status == 1 and str(peer.dir) in done.stderr
    assert peer.client().get_json("/healthz")["status"] == "ok"


def test_a_copied_state_folder_gets_a_new_id(start_peer, tracker, tmp_path):
    path = random_file(tmp_path / "file", 1000)
    first = share(start_peer, tracker, path)
    shutil.copytree(first.dir, tmp_path / "copy", ignore=shutil.ignore_patterns("control"))  # no socket
    second = start_peer(tracker=tracker, dir=tmp_path / "copy", files=[path])
    assert second.id != first.id
    wait_until(lambda: tracker.client().holder_ids(Content.of_file(path)) == {first.id, second.id})
    own = second.id
    second.stop()
    assert start_peer(tracker=tracker, dir=tmp_path / "copy").id == own


def test_a_restart_keeps_the_id_and_a_rename_of_dir_too(start_peer, tracker, tmp_path):
    first = start_peer(tracker=tracker, dir=tmp_path / "one")
    own = first.id
    first.stop()
    (tmp_path / "one").rename(tmp_path / "two")
    assert start_peer(tracker=tracker, dir=tmp_path / "two").id == own


def test_nobody_changes_a_peers_registration_without_its_secret(start_peer, tracker, tmp_path):
    path = random_file(tmp_path / "file", 1000)
    peer = share(start_peer, tracker, path)
    other = tracker.client()
    own_id, stranger = peer.id, Identity()
    body = {"id": own_id, "port": 1, "files": []}
    for headers in ({}, stranger.bearer, {"Authorization": "Bearer x"}):
        for method, way, content in (
            ("POST", "/v1/peers", body), ("POST", f"/v1/peers/{own_id}/heartbeat", {}),
            ("POST", f"/v1/peers/{own_id}/files", {"remove": [{"root": Content.of_file(path).root, "size": 1000}]}),
            ("DELETE", f"/v1/peers/{own_id}", None),
        ):  # fmt: skip
            answer = other.call(method, way, content, headers)
            assert answer.status_code in (401, 403), (method, way, answer.status_code)
    assert other.holder_ids(Content.of_file(path)) == {own_id}


@pytest.mark.parametrize("harm", ["secret", "database", "newer"])
def test_damaged_state_is_told_of_and_left_alone(run_peer, tracker, tmp_path, harm):
    home = tmp_path / "d"
    run_peer(["status"], tracker=tracker, dir=home).ok()
    place = home / ".enxame" / ("secret" if harm == "secret" else "state.db")
    if harm == "secret":
        place.write_text("not a secret")
    elif harm == "database":
        place.write_bytes(os.urandom(20_000))
    else:
        with open(place, "r+b") as file:  # user_version of an SQLite file
            file.seek(60)
            file.write((99).to_bytes(4, "big"))
    before = place.read_bytes()
    done = run_peer(["status"], tracker=tracker, dir=home)
    assert done.status == 1 and place.name in done.stderr, done.stderr
    assert place.read_bytes() == before


# ---- signals ----


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_unregisters_and_ends(start_peer, tracker, tmp_path, number):
    peer = share(start_peer, tracker, random_file(tmp_path / "file", 1000))
    assert len(tracker.client().peers()) == 1
    peer.stop(number)
    assert tracker.client().peers() == []


def test_an_idle_peer_is_small(start_peer, tracker, tmp_path):
    peer = share(start_peer, tracker, random_file(tmp_path / "file", 1 << 20))
    expect(peer.client().get("/v1/status"), 200)
    assert programs.SANITIZED or peer.memory_bytes() < 20 << 20, f"{peer.memory_bytes() / 2**20:.1f} MiB"
