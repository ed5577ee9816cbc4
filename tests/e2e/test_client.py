"""The independent client against libtorrent (an independent BEP 52), and the fake holder against the client."""

import socket
import threading
import time

import libtorrent
import pytest
import requests

import client
from client import BLOCK_SIZE, Content, FakeHolder, Peer, expect, expect_problem
from programs import random_file, sha256_file, wait_until

SIZES = [1, 16383, 16384, 16385, 32768, 49153, 65536, 100_000, 1 << 20, (1 << 20) + 1, 3_333_333]


def by_libtorrent(path, chunk_size):
    """The pieces root and the piece layer that libtorrent computes."""
    files = libtorrent.file_storage()
    libtorrent.add_files(files, str(path))
    torrent = libtorrent.create_torrent(files, chunk_size, libtorrent.create_torrent.v2_only)
    libtorrent.set_piece_hashes(torrent, str(path.parent))
    made = torrent.generate()
    root = made[b"info"][b"file tree"][path.name.encode()][b""][b"pieces root"]
    return root, made.get(b"piece layers", {}).get(root)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("chunk_size", [16 << 10, 64 << 10, 1 << 20])
def test_roots_and_layers_equal_libtorrents(tmp_path, size, chunk_size):
    path = random_file(tmp_path / "content", size)
    content = Content.of_file(path)
    root, layer = by_libtorrent(path, chunk_size)
    assert content.root_bytes == root
    if size > chunk_size:
        assert content.layer(chunk_size) == layer
    else:
        assert content.layer(chunk_size) == root  # BEP 52 keeps no layer there


def test_an_empty_content_has_the_hash_of_nothing_and_no_layer():
    content = Content(b"")
    assert content.root == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert content.layer(BLOCK_SIZE) == b""


@pytest.mark.parametrize("size", SIZES)
def test_layers_lead_to_the_root_and_chunks_to_the_layer(size):
    content = Content.random(size)
    for chunk_size in client.CHUNK_SIZES:
        layer = content.layer(chunk_size)
        assert len(layer) == 32 * content.chunk_count(chunk_size)
        if size > chunk_size:
            assert client.root_of_layer(layer, chunk_size) == content.root_bytes
        for index in {0, content.chunk_count(chunk_size) - 1}:
            hash_ = client.chunk_hash(content.chunk(index, chunk_size), chunk_size, size)
            assert hash_ == layer[32 * index : 32 * index + 32]


def test_bitmaps_have_the_most_significant_bit_first():
    assert client.bitmap({0, 9}, 10) == "gEA="
    assert client.bitmap_indexes("gEA=", 10) == {0, 9}


def test_random_files_are_the_same_for_the_same_seed(tmp_path):
    first, second, third = (random_file(tmp_path / str(n), 3 << 20, seed=n // 2) for n in range(3))
    assert sha256_file(first) == sha256_file(second) != sha256_file(third)
    assert first.read_bytes() == Content.of_file(first).data


# ---- the fake holder ----

CONTENT = Content.random(300_001, seed=7)


@pytest.fixture
def holder():
    with FakeHolder(CONTENT) as holder:
        yield holder


@pytest.fixture
def peer(holder):
    with_deadline = Peer(holder.address, timeout=1)
    yield with_deadline
    with_deadline.close()


def test_an_honest_holder_gives_the_content_and_counts(holder, peer):
    assert peer.fetch(CONTENT, 64 << 10) == CONTENT.data
    wait_until(lambda: holder.sent_bytes == CONTENT.size)  # the last is counted after it was sent
    assert holder.requests == {"layer": 1, "data": 5}
    assert holder.chunk_requests(64 << 10) == dict.fromkeys(range(5), 1)
    assert holder.chunk_bytes(64 << 10)[4] == CONTENT.size - 4 * (64 << 10)
    assert peer.files() == [CONTENT.record()]
    assert peer.status()["id"] == holder.id


def test_head_tells_the_size_and_sends_nothing(holder, peer):
    answer = expect(peer.data(CONTENT, method="HEAD"), 200)
    assert answer.headers["Content-Length"] == str(CONTENT.size) and answer.content == b""
    assert holder.sent_bytes == 0


def test_an_unsatisfiable_range_is_416_and_another_size_404(peer):
    assert peer.data(CONTENT, CONTENT.size).status_code == 416
    expect_problem(peer.get(f"/v1/files/{CONTENT.root}/data?size=5"), 404)


def test_the_clock_goes_on_with_each_message(peer):
    peer.clock.value = 1000
    peer.status()
    assert peer.clock.value > 1001


def fetch_fails(peer):
    with pytest.raises((AssertionError, requests.RequestException)):
        peer.fetch(CONTENT, 64 << 10)


@pytest.mark.parametrize("fault", [name for name in client.FAULTS if name not in ("busy",)])
def test_each_fault_is_seen_by_a_client_that_verifies_and_is_gone_afterwards(holder, peer, fault):
    holder.fail(fault)
    if fault == "trickle":
        with pytest.raises(requests.RequestException):
            started = time.monotonic()
            answer = peer.data(CONTENT, 0, 99, stream=True)
            for _ in answer.iter_content(1):
                if time.monotonic() - started > 2.5:
                    raise requests.Timeout
    else:
        fetch_fails(peer)
    assert holder.faults_done >= 1
    holder.behave()
    peer.session.close()
    assert peer.fetch(CONTENT, 64 << 10) == CONTENT.data


def test_faults_of_one_request_in_some_for_some_times(holder, peer):
    holder.fail("status_500", every=2, after=1, times=2)
    statuses = [peer.data(CONTENT, 0, 9).status_code for _ in range(8)]
    assert statuses == [206, 206, 500, 206, 500, 206, 206, 206]


def test_faults_of_chosen_kinds_of_requests(holder, peer):
    holder.fail("garbage", on=("layer", "have"))
    assert peer.data(CONTENT, 0, 9).content == CONTENT.data[:10]
    with pytest.raises(requests.RequestException):
        peer.layer(CONTENT, BLOCK_SIZE)


def test_busy_for_a_while(holder, peer):
    holder.fail("busy", times=1, retry_after_s=3)
    answer = peer.data(CONTENT, 0, 9)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "3")
    assert peer.data(CONTENT, 0, 9).content == CONTENT.data[:10]


def test_a_cut_body_ends_early(holder, peer):
    holder.fail("cut")
    with pytest.raises(requests.RequestException):
        peer.data(CONTENT, 0, 9999)


def test_a_partial_holder_says_what_it_has_and_a_liar_more(peer, holder):
    holder.held, holder.claimed = {0, 2}, {0, 1, 2}
    have = peer.have(CONTENT)
    assert not have["complete"] and have["chunk_size"] == 64 << 10
    assert client.bitmap_indexes(have["bitmap"], 5) == {0, 1, 2}
    assert peer.data(CONTENT, 0, 65535).status_code == 206
    expect_problem(peer.data(CONTENT, 65536, 131071), 404)


def test_a_holder_may_claim_to_be_complete_and_is_not():
    with FakeHolder(CONTENT, held={0}, claimed="complete") as holder:
        liar = Peer(holder.address)
        assert liar.have(CONTENT)["complete"] and liar.files()[0]["complete"]
        expect_problem(liar.data(CONTENT, 65536, 131071), 404)
        liar.close()


def test_holders_serve_on_ipv6_too():
    with FakeHolder(CONTENT, host="::1") as holder:
        assert holder.address.startswith("[::1]:")
        assert Peer(holder.address).fetch(CONTENT) == CONTENT.data


def test_raw_bytes_are_sent_as_they_are(holder):
    answer = client.raw(holder.address, b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ") and holder.id.encode() in answer
    assert b"400" in client.raw(holder.address, b"nonsense with too many words here\r\n\r\n")


def test_a_long_poll_ends_when_something_new_is_held(peer, holder):
    holder.held, holder.claimed = {0}, {0}
    before = peer.have(CONTENT)["version"]
    other = Peer(holder.address)
    answers = []
    poller = threading.Thread(target=lambda: answers.append(other.have(CONTENT, since=before, wait_ms=20000)))
    poller.start()
    wait_until(lambda: holder.requests["have"] == 2)
    holder.add_held({3})
    poller.join(10)
    assert client.bitmap_indexes(answers[0]["bitmap"], 5) == {0, 3} and answers[0]["version"] != before
    other.close()


def test_a_silent_holder_stops_at_once(holder):
    holder.fail("silent", on=("data", "layer", "have", "files", "status"))
    with socket.create_connection((holder.host, holder.port), 5) as connection:
        connection.sendall(b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        started = time.monotonic()
        holder.stop()
        assert time.monotonic() - started < 5


@pytest.mark.sanitized
def test_a_holder_is_known_to_the_tracker_while_it_lives(tracker):
    others = tracker.client()
    with FakeHolder(CONTENT, tracker=tracker.address) as holder:
        assert others.holder_ids(CONTENT) == {holder.id}
        row = others.owners(CONTENT.root)["holders"][0]
        assert (row["host"], row["port"], row["complete"]) == (holder.host, holder.port, True)
    assert others.holder_ids(CONTENT) == set()
