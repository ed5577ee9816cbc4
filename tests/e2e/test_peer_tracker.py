"""A peer and its trackers: registration, heartbeats, failover, and trackers that restart, forget or refuse."""

import contextlib
import json
import socket
import subprocess
import threading

import pytest

import programs
from fake_tracker import FakeTracker
from programs import random_file, wait_until

FAST = ("--heartbeat", "1", "--expire", "4")


@pytest.fixture
def fast_tracker(start_tracker):
    """Peers have to show themselves every second."""
    return start_tracker(*FAST)


def ids(tracker):
    return {peer["id"][:8] for peer in tracker.client().peers()}


def names(tracker):
    return {file["name"] for file in tracker.client().files()}


# ---- registration ----


@pytest.mark.sanitized
def test_a_peer_without_files_registers_and_unregisters(tracker, start_peer):
    peer = start_peer(tracker=tracker)
    wait_until(lambda: peer.short_id in ids(tracker))
    (row,) = tracker.client().peers()
    assert (row["host"], row["port"], row["files"]) == ("127.0.0.1", peer.port, 0)
    peer.stop()
    assert ids(tracker) == set()


def test_sigint_ends_a_daemon_as_cleanly(tracker, start_peer, tmp_path):
    peer = start_peer(tracker=tracker, files=[random_file(tmp_path / "a.bin", 1000)])
    wait_until(lambda: names(tracker) == {"a.bin"})
    peer.stop(2)
    assert ids(tracker) == set() and names(tracker) == set()


@pytest.mark.both_stores
def test_files_are_registered_under_their_names(tracker, start_peer, tmp_path):
    random_file(tmp_path / "folder/sub/um café.bin", 1000, seed=1)
    peer = start_peer(tracker=tracker, files=[random_file(tmp_path / "a.bin", 10, seed=2), tmp_path / "folder"])
    wait_until(lambda: names(tracker) == {"a.bin", "folder/sub/um café.bin"})
    assert tracker.client().peers()[0]["id"] == peer.id


def test_an_advertised_address_is_registered(tracker, start_peer):
    start_peer(tracker=tracker, args=["--advertise", "127.0.0.1:4242"])
    wait_until(lambda: [peer["port"] for peer in tracker.client().peers()] == [4242])


def test_a_peer_on_a_wildcard_beside_the_tracker_is_known_by_an_address_that_others_reach(tracker, start_peer):
    peer = start_peer(tracker=tracker, host="0.0.0.0")
    (row,) = wait_until(lambda: tracker.client().peers())
    links = json.loads(subprocess.check_output(["ip", "-json", "addr", "show", "up", "scope", "global"]))
    addresses = [one["local"] for link in links for one in link.get("addr_info", []) if "local" in one]
    assert row["port"] == peer.port
    assert row["host"] in addresses or (row["host"] == "127.0.0.1" and not addresses)


def test_after_kill_9_the_next_start_takes_the_place_of_the_last_at_once(tracker, start_peer, tmp_path):
    first = start_peer(tracker=tracker, dir=tmp_path / "peer")
    wait_until(lambda: tracker.client().peers())
    first.kill()
    second = start_peer(tracker=tracker, dir=tmp_path / "peer")
    assert second.port != first.port
    wait_until(lambda: [row["port"] for row in tracker.client().peers()] == [second.port], 15)


@pytest.mark.sanitized
def test_a_registration_that_overtakes_the_end_leaves_nothing_that_the_next_start_must_wait_for(start_peer, tmp_path):
    with FakeTracker() as fake:
        ended, answers = threading.Event(), fake.answer

        def answer(kind, length, body):
            answered = answers(kind, length, body)
            if kind == "unregister":
                ended.set()
            elif not ended.wait(60):  # a slow machine: it is taken only after the peer has said that it is gone
                return 500, {}
            return answered

        fake.answer = answer
        peer = start_peer(tracker=fake.address, dir=tmp_path / "peer")
        wait_until(lambda: "register" in fake.kinds())
        peer.stop()
        start_peer(tracker=fake.address, dir=tmp_path / "peer")
        wait_until(lambda: fake.kinds().count("register") == 2)
        first, second = (body for kind, _, body in fake.requests if kind == "register")
    assert second["previous"] == first["instance"]


@pytest.mark.both_stores
def test_heartbeats_keep_a_peer_known(fast_tracker, start_peer):
    peer = start_peer(tracker=fast_tracker)
    wait_until(lambda: peer.short_id in ids(fast_tracker))
    for _ in range(3):
        wait_until(lambda: any(row["age_ms"] > 700 for row in fast_tracker.client().peers()))
        wait_until(lambda: any(row["age_ms"] < 400 for row in fast_tracker.client().peers()))
    peer.kill()
    wait_until(lambda: peer.short_id not in ids(fast_tracker))


@pytest.mark.sanitized
def test_a_peer_is_known_while_it_hashes_and_ends_at_once(tracker, start_peer, tmp_path):
    with open(tmp_path / "large.bin", "wb") as file:
        file.truncate(64 << 30)
    peer = start_peer(tracker=tracker, files=[tmp_path / "large.bin"])
    wait_until(lambda: peer.short_id in ids(tracker))
    assert names(tracker) == set()
    peer.stop()
    assert ids(tracker) == set()


# ---- trackers that are not there, restart or forget ----


@contextlib.contextmanager
def kept_port():
    """A port at which nobody listens, and which only a program that is told of it will take."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", 0))
        yield one.getsockname()[1]


@pytest.mark.sanitized
def test_a_peer_waits_for_its_tracker_and_says_so_once(start_tracker, start_peer):
    with kept_port() as port:
        peer = start_peer(tracker=f"127.0.0.1:{port}")
        wait_until(lambda: "trying again" in peer.err())
        # The second try comes within 1.25 s, the third within 2.5 s more.
        with pytest.raises(AssertionError):
            wait_until(lambda: peer.err().count("trying again") > 1, timeout_s=4)
        tracker = start_tracker(listen=f"127.0.0.1:{port}")
    wait_until(lambda: peer.short_id in ids(tracker))
    wait_until(lambda: "answers again" in peer.err())


@pytest.mark.sanitized
@pytest.mark.both_stores
def test_a_tracker_that_was_killed_is_used_again(start_tracker, start_peer, tmp_path):
    first = start_tracker(*FAST)
    peer = start_peer(tracker=first, files=[random_file(tmp_path / "a.bin", 1000)])
    wait_until(lambda: names(first) == {"a.bin"})
    first.kill()
    wait_until(lambda: "trying again" in peer.err())
    second = start_tracker(*FAST, listen=first.address)
    assert names(second) == {"a.bin"}
    wait_until(lambda: "answers again" in peer.err())
    assert peer.short_id in ids(second)


def test_a_tracker_that_forgot_all_is_told_again(start_tracker, start_peer, tmp_path):
    first = start_tracker(*FAST)
    for number in range(20):
        random_file(tmp_path / f"files/{number}", 100, seed=number)
    peer = start_peer(tracker=first, files=[tmp_path / "files"])
    wait_until(lambda: len(names(first)) == 20)
    first.kill()
    second = start_tracker(*FAST, listen=first.address, db=tmp_path / "other.db")
    wait_until(lambda: len(names(second)) == 20)
    assert peer.short_id in ids(second)


def test_the_next_tracker_is_used_where_one_fails(start_tracker, start_peer, run_peer, tmp_path):
    first, second = start_tracker(*FAST), start_tracker(*FAST, db=tmp_path / "second.db")
    peer = start_peer(tracker=[first, second], files=[random_file(tmp_path / "a.bin", 1000)])
    wait_until(lambda: names(first) == {"a.bin"})
    assert ids(second) == set()
    first.kill()
    wait_until(lambda: names(second) == {"a.bin"})
    wait_until(lambda: second.address in peer.err())
    # A command finds its way, too.
    assert "a.bin" in run_peer(["search"], tracker=[first, second]).ok().stdout


def test_drift_is_seen_in_two_heartbeats(start_peer, tmp_path):
    with FakeTracker() as fake:
        peer = start_peer(tracker=fake.address, files=[random_file(tmp_path / "a.bin", 1000)])
        wait_until(lambda: len(fake.files) == 1 and "heartbeat" in fake.kinds())
        fake.count = 0
        before = fake.kinds().count("register")
        wait_until(lambda: fake.kinds().count("register") > before)
        fake.count = None
        assert len(wait_until(lambda: fake.files)) == 1
        wait_until(lambda: "registering again" in peer.err())
        peer.stop()
        assert fake.kinds()[-1] == "unregister"


def test_a_refusal_is_told_in_the_trackers_words_and_tried_again(start_peer):
    with FakeTracker() as fake:
        fake.refuse["register"] = (409, "this id lives at 10.9.8.7:1")
        peer = start_peer(tracker=fake.address)
        wait_until(lambda: "this id lives at 10.9.8.7:1" in peer.err())
        wait_until(lambda: fake.kinds().count("register") >= 2)
        assert peer.alive and peer.err().count("this id lives") == 1
        fake.refuse.clear()
        wait_until(lambda: "heartbeat" in fake.kinds())


def test_a_tracker_in_trouble_leads_to_the_next(start_peer):
    with FakeTracker() as first, FakeTracker() as second:
        first.refuse["register"] = (500, "no")
        start_peer(tracker=[first.address, second.address])
        wait_until(lambda: "heartbeat" in second.kinds())


def test_refused_news_do_not_stop_heartbeats(start_peer, tmp_path):
    with FakeTracker() as fake:
        fake.refuse["files"] = (400, "files are not welcome")
        peer = start_peer(tracker=fake.address, files=[random_file(tmp_path / "a.bin", 1000)])
        wait_until(lambda: fake.kinds().count("heartbeat") >= 3)
        if "files" in fake.kinds():
            assert peer.err().count("files are not welcome") == 1


# ---- many files ----


def bounded(fake, most_bytes=256 * 1024):
    with fake.lock:
        for _, length, body in fake.requests:
            items = sum(len(body.get(member, [])) for member in ("files", "add", "remove"))
            assert items <= 1000 and length <= most_bytes, (items, length)


@pytest.mark.timeout(600)
def test_100_000_files_go_in_bounded_requests_and_one_is_found(tracker, start_peer, run_peer, tmp_path):
    count = 5_000 if programs.SANITIZED else 100_000
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:06}").write_bytes(b"%d" % number)
    with FakeTracker(heartbeat_s=60) as fake:
        peer = start_peer(tracker=fake.address, files=[folder], dir=tmp_path / "d")
        wait_until(lambda: len(fake.files) == count, timeout_s=300)
        assert {name for name, _ in fake.files} == {f"many/{number:06}" for number in range(count)}
        bounded(fake)
        # Gathered, and not one by one.
        assert len(fake.requests) < count / 1000 + 400
        peer.stop()
    # What was hashed once is not hashed again; the real tracker takes it all, too.
    start_peer(tracker=tracker, files=[folder], dir=tmp_path / "d")
    wait_until(lambda: tracker.client().peers() and tracker.client().peers()[0]["files"] == count, timeout_s=300)
    assert f"many/{count - 1:06}" in run_peer([f"search {count - 1:06}"], tracker=tracker).ok().stdout


def test_long_names_make_requests_shorter(start_peer, tmp_path):
    folder = tmp_path / "n"
    deep = folder / ("d" * 250) / ("e" * 250) / ("f" * 250)
    deep.mkdir(parents=True)
    for number in range(700):
        (deep / ('"' * 200 + str(number))).write_text(str(number))
    with FakeTracker(heartbeat_s=60) as fake:
        start_peer(tracker=fake.address, files=[folder])
        wait_until(lambda: len(fake.files) == 700)
        bounded(fake)


# ---- without a tracker ----


def test_commands_fail_with_the_reason_where_no_tracker_answers(run_peer):
    result = run_peer(["peers", "search x", "owners x", "download x"], tracker="127.0.0.1:1")
    assert result.status == 1
    assert result.stderr.count("127.0.0.1:1") >= 4 and "not answer" in result.stderr


def test_no_tracker_needs_none(run_peer, tmp_path):
    path = random_file(tmp_path / "a.bin", 1000)
    result = run_peer(["shared", "status"], tracker=[], args=["--no-tracker"], files=[path]).ok()
    assert "a.bin" in result.stdout and result.stderr == ""
    assert run_peer(["peers"], tracker=[], args=["--no-tracker"]).status == 1
