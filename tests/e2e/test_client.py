"""The independent client against libtorrent (an independent BEP 52), and the fake holder against the client."""

import contextlib
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
    peer = Peer(holder.address)
    yield peer
    peer.close()


@contextlib.contextmanager
def impatient(peer):
    """Waits no longer than a second for one that will say nothing."""
    usual, peer.timeout = peer.timeout, 1
    try:
        yield
    finally:
        peer.timeout = usual


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


def test_ranges_of_all_forms(peer):
    size = CONTENT.size
    for asked, first, last in (("0-0", 0, 0), ("70000-250000", 70_000, 250_000), ("100-", 100, size - 1),
                               ("-10", size - 10, size - 1), (f"5-{size + 9}", 5, size - 1)):  # fmt: skip
        answer = expect(peer.data(CONTENT, headers={"Range": "bytes=" + asked}), 206)
        assert answer.content == CONTENT.data[first : last + 1]
        assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{size}"
    for asked in ("bytes=9-5", "bytes=-", "bytes=0-1,5-6", "lines=1-2"):
        assert expect(peer.data(CONTENT, headers={"Range": asked}), 200).content == CONTENT.data
    assert peer.data(CONTENT, headers={"Range": "bytes=-0"}).status_code == 416


def test_a_part_of_a_layer_and_layers_that_are_refused(holder, peer):
    whole = CONTENT.layer(BLOCK_SIZE)
    answer = expect(peer.layer(CONTENT, BLOCK_SIZE, headers={"Range": "bytes=32-95"}), 206)
    assert answer.content == whole[32:96] and answer.headers["Content-Range"] == f"bytes 32-95/{len(whole)}"
    assert peer.layer(CONTENT, BLOCK_SIZE, headers={"Range": f"bytes={len(whole)}-"}).status_code == 416
    assert expect_problem(peer.layer(CONTENT, 5000), 400).endswith(":invalid-query")
    holder.finest_layer = 64 << 10
    assert expect_problem(peer.layer(CONTENT, BLOCK_SIZE), 404).endswith(":layer-too-fine")
    assert expect(peer.layer(CONTENT, 64 << 10), 200).content == CONTENT.layer(64 << 10)


def ask_any(peer, wanted, chunk_size=64 << 10, size=CONTENT.size):
    body = {"size": size, "chunk_size": chunk_size, "wanted": client.bitmap(wanted, CONTENT.chunk_count(chunk_size))}
    return peer.call("POST", f"/v1/files/{CONTENT.root}/any", body)


def test_any_gives_what_was_given_least_often(holder, peer):
    given = []
    for _ in range(10):
        answer = expect(ask_any(peer, range(5)), 206)
        first, last = map(int, answer.headers["Content-Range"].split(" ")[1].split("/")[0].split("-"))
        assert answer.content == CONTENT.data[first : last + 1]
        given.append(first // (64 << 10))
    assert sorted(given[:5]) == sorted(given[5:]) == list(range(5))
    wait_until(lambda: holder.sent_bytes == 2 * CONTENT.size)
    assert holder.chunk_requests(64 << 10) == dict.fromkeys(range(5), 2) and holder.requests == {"any": 10}


def test_any_of_what_is_not_held_and_where_it_is_not_known(holder, peer):
    holder.held = holder.claimed = {1}
    assert expect(ask_any(peer, {0, 1}), 206).content == CONTENT.chunk(1, 64 << 10)
    assert expect(ask_any(peer, {4, 5}, 16 << 10), 206).content in (CONTENT.chunk(n, 16 << 10) for n in (4, 5))
    assert expect_problem(ask_any(peer, {0, 2}), 404).endswith(":not-held")
    assert expect_problem(ask_any(peer, {0}, 128 << 10), 404).endswith(":not-held")
    assert expect_problem(ask_any(peer, {0}, size=5), 404).endswith(":unknown-content")
    assert expect_problem(ask_any(peer, {0}, 65), 400).endswith(":invalid-body")
    holder.serves_any = False
    assert expect_problem(ask_any(peer, {1}), 404).endswith(":no-such-path")


def test_a_batch_has_the_content_and_says_what_is_not_held():
    small, other = Content(b"small content"), Content(b"another")
    with FakeHolder(small) as holder:
        peer = Peer(holder.address)
        body = {"contents": [{"root": one.root, "size": one.size} for one in (other, small)]}
        stream = expect(peer.call("POST", "/v1/batch", body), 200).content
        assert stream == other.root_bytes + b"\xff" * 8 + small.root_bytes + (13).to_bytes(8, "big") + small.data
        assert expect_problem(peer.call("POST", "/v1/batch", {"contents": []}), 400).endswith(":invalid-body")
        peer.close()


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
        with impatient(peer) if fault == "silent" else contextlib.nullcontext():
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


def test_a_fault_in_data_is_one_in_any(holder, peer):
    holder.fail("wrong_bytes")
    assert expect(ask_any(peer, {2}), 206).content != CONTENT.chunk(2, 64 << 10)
    holder.fail("wrong_range")
    assert not expect(ask_any(peer, {2}), 206).headers["Content-Range"].startswith("bytes 131072-")
    holder.fail("plain_200")
    answer = expect(ask_any(peer, {2}), 200)
    assert answer.content == CONTENT.chunk(2, 64 << 10) and "Content-Range" not in answer.headers


def test_wrong_chunks_are_wrong_in_every_block_and_in_every_range(holder, peer):
    holder.wrong_chunks = {1}
    blocks = [block for block in range(CONTENT.chunk_count(BLOCK_SIZE))
              if peer.data(CONTENT, block * BLOCK_SIZE, (block + 1) * BLOCK_SIZE - 1).content
              != CONTENT.chunk(block, BLOCK_SIZE)]  # fmt: skip
    whole = peer.data(CONTENT).content
    assert blocks == [4, 5, 6, 7]
    assert [n for n in range(5) if whole[n * 65536 : (n + 1) * 65536] != CONTENT.chunk(n, 65536)] == [1]


@pytest.mark.parametrize("closes", ["said", "unsaid"])
def test_a_holder_that_closes_after_each_answer(holder, peer, closes):
    holder.closes = closes
    for _ in range(3):
        try:
            answer = expect(peer.data(CONTENT, 0, 99), 206)
        except requests.ConnectionError:  # an end that nobody told of comes while the next request is written
            assert closes == "unsaid"
            answer = expect(peer.data(CONTENT, 0, 99), 206)
        assert answer.content == CONTENT.data[:100] and ("Connection" in answer.headers) == (closes == "said")
    assert holder.connections == 3


def test_a_rate_holds_for_all_answers_together(holder):
    holder.rate_bytes_s = 200_000
    started = time.monotonic()
    threads = [threading.Thread(target=Peer(holder.address).data, args=(CONTENT, 0, 49_999)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started >= 0.95
    wait_until(lambda: holder.sent_bytes == 200_000)  # counted once they are sent


def test_a_frozen_holder_goes_on_when_it_is_thawed(holder, peer):
    holder.freeze()
    with pytest.raises(requests.RequestException), impatient(peer):
        peer.status()
    holder.thaw()
    assert peer.status()["id"] == holder.id


@pytest.mark.parametrize("unregister", [True, False])
def test_a_holder_that_leaves_in_the_middle(tracker, unregister):
    with FakeHolder(CONTENT, tracker=tracker.address) as holder:
        holder.rate_bytes_s = 100_000
        others = tracker.client()
        line = f"GET /v1/files/{CONTENT.root}/data?size={CONTENT.size} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with socket.create_connection((holder.host, holder.port), 10) as connection:
            connection.sendall(line.encode())
            received = connection.recv(65536)
            assert b" 200 " in received
            holder.stop(unregister=unregister)
            with contextlib.suppress(ConnectionError):
                while more := connection.recv(65536):
                    received += more
        assert len(received) < CONTENT.size
        assert others.holder_ids(CONTENT) == (set() if unregister else {holder.id})


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


def test_a_have_map_by_what_was_added(peer, holder):
    holder.set_held({0})
    first = peer.have(CONTENT)
    holder.add_held({3})
    holder.add_held({1})
    path = f"/v1/files/{CONTENT.root}/have?size={CONTENT.size}&delta=1&since="
    assert peer.get_json(f"{path}{first['version']}")["added"] == [1, 3]
    assert peer.get_json(f"{path}{first['version'] + 1}")["added"] == [1]
    assert peer.get_json(f"{path}{first['version'] + 2}")["added"] == []
    everything = {0, 1, 3}
    for since in ("5", first["version"] + 7):  # it knows of no such version
        assert client.bitmap_indexes(peer.get_json(f"{path}{since}")["bitmap"], 5) == everything
    holder.deltas, holder.pending = False, {2}
    have = peer.get_json(f"{path}{first['version']}")
    assert client.bitmap_indexes(have["bitmap"], 5) == everything and client.bitmap_indexes(have["pending"], 5) == {2}
    holder.have_says = lambda answer: {**answer, "bitmap": "x"}
    assert peer.get_json(f"{path}{first['version']}")["bitmap"] == "x"


def test_a_complete_holder_lets_nobody_wait_for_news(peer):
    have = peer.have(CONTENT)
    assert peer.have(CONTENT, since=have["version"], wait_ms=20_000) == have


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
