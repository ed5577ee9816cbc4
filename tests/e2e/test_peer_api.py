"""The peer API, asked by an independent client: what a peer shares, whole and in part, and what it refuses."""

import base64
import hashlib
import random
import threading
import time
import urllib.parse

import pytest

import client
from client import BLOCK_SIZE, CHUNK_SIZES, Content, FakeHolder, expect, expect_problem
from programs import random_file, wait_until

SIZE = 3_333_333
NAME = "a file's “name” ção.bin"
ABSENT = Content(b"nobody has this")


@pytest.fixture
def content(tmp_path):
    return Content.of_file(random_file(tmp_path / "src" / NAME, SIZE, seed=3))


@pytest.fixture
def seeder(start_peer, tracker, tmp_path, content):
    peer = start_peer(tracker=tracker, files=[tmp_path / "src" / NAME])
    wait_until(lambda: peer.client().files())
    return peer


@pytest.fixture
def api(seeder):
    api = seeder.client()
    yield api
    assert seeder.alive and api.get_json("/healthz") == {"status": "ok"}
    api.close()


PART_CHUNK = 256 * 1024


@pytest.fixture
def partial(start_shell, tracker, content):
    """A leecher that got the chunks {0, 1, 5} and waits for the others; (its API, the holder that it fetches from)."""
    with FakeHolder(content, tracker=tracker.address, held={0, 1, 5}, have_chunk_size=PART_CHUNK) as holder:
        shell = start_shell(tracker=tracker, args=["--chunk-size", "256K"])
        shell.say(f"download {content.root}")
        api = shell.client(tracker)
        wait_until(lambda: api.get(f"/v1/files/{content.root}/have?size={SIZE}").status_code == 200)
        wait_until(lambda: have_of(api, content) == {0, 1, 5}, what="three chunks")
        yield api, holder
        assert shell.alive
        api.close()


def have_of(api, content):
    have = api.have(content)
    return client.bitmap_indexes(have["bitmap"], content.chunk_count(have["chunk_size"]))


def kind_of(answer, status):
    return expect_problem(answer, status).rsplit(":", 1)[1]


# ---- lists ----


def test_files_are_listed_in_pages_and_one_name_twice(start_peer, tracker, tmp_path):
    expected = []
    for number in range(12):
        path = tmp_path / f"folder{number % 3}" / ("same.txt" if number < 3 else f"other {number}.txt")
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"content {number}")
        expected.append(Content.of_file(path).record())
    peer = start_peer(tracker=tracker, files=[*tmp_path.glob("folder*/*")])
    api = peer.client()
    wait_until(lambda: len(api.files()) == 12)
    for limit in (None, 1, 2, 5, 12, 1000):
        listed = api.files(limit=limit)
        key = lambda record: (record["name"], record["root"])  # noqa: E731
        assert sorted(listed, key=key) == sorted(expected, key=key), limit
        assert [one["name"] for one in listed] == sorted(one["name"] for one in expected)
    assert len(api.get_json("/v1/files?limit=5")["files"]) == 5
    assert "next" not in api.get_json("/v1/files?limit=12")
    for query in ("limit=0", "limit=1001", "limit=x", "limit=-1", "after=zz", "after=00", "after=616161"):
        assert kind_of(api.get("/v1/files?" + query), 400) == "invalid-query", query


def test_status_metrics_and_health(seeder, api, content):
    status = api.status()
    assert status["id"][:8] == seeder.short_id and status["files"] == 1 and status["downloads"] == []
    before = status["clock"]
    expect(api.data(content), 200)
    wait_until(lambda: api.status()["sent_bytes"] >= SIZE)
    assert api.status()["clock"] > before
    text = expect(api.get("/metrics"), 200)
    assert text.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    lines = dict(line.rsplit(" ", 1) for line in text.text.splitlines() if not line.startswith("#"))
    assert lines["enxame_peer_files"] == "1" and int(lines["enxame_peer_sent_bytes_total"]) >= SIZE
    assert lines["enxame_peer_request_errors_total"] == "0"


def test_the_status_shows_a_download(partial, content):
    (download,) = partial[0].status()["downloads"]
    assert download["root"] == content.root and download["done_bytes"] == 3 * PART_CHUNK


# ---- data ----


@pytest.mark.sanitized
def test_data_whole_and_in_ranges(api, content):
    whole = expect(api.data(content), 200)
    assert whole.content == content.data
    etag = f'"{content.root}-{SIZE}"'
    assert whole.headers["ETag"] == etag and whole.headers["Accept-Ranges"] == "bytes"
    for first, last in ((0, 0), (0, 99), (1000, 99_999), (SIZE - 1, SIZE - 1), (SIZE - 5, SIZE + 5), (SIZE // 2, None)):
        answer = expect(api.data(content, first, last), 206)
        end = min(SIZE - 1 if last is None else last, SIZE - 1)
        assert answer.content == content.data[first : end + 1]
        assert answer.headers["Content-Range"] == f"bytes {first}-{end}/{SIZE}"
        assert answer.headers["ETag"] == etag
    answer = expect(api.data(content, headers={"Range": "bytes=-10"}), 206)
    assert answer.content == content.data[-10:]
    assert api.fetch(content) == content.data


def test_head_has_the_headers_of_get_and_no_body(api, content):
    whole, part = api.data(content, method="HEAD"), api.data(content, 5, 9, method="HEAD")
    assert (expect(whole, 200).headers["Content-Length"], whole.content) == (str(SIZE), b"")
    assert (expect(part, 206).headers["Content-Length"], part.content) == ("5", b"")
    assert part.headers["Content-Range"] == f"bytes 5-9/{SIZE}"
    assert whole.headers["ETag"] == f'"{content.root}-{SIZE}"'
    assert expect(api.data(ABSENT, method="HEAD"), 404).content == b""


def test_if_range_with_another_etag_gives_everything(api, content):
    etag = f'"{content.root}-{SIZE}"'
    assert expect(api.data(content, 0, 9, headers={"If-Range": etag}), 206).content == content.data[:10]
    for other in ('"other"', "W/" + etag, "Thu, 01 Jan 1970 00:00:00 GMT"):
        assert len(expect(api.data(content, 0, 9, headers={"If-Range": other}), 200).content) == SIZE


def test_ranges_that_cannot_be_served(api, content):
    for asked in (f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 9}", "bytes=-0"):
        answer = api.data(content, headers={"Range": asked})
        assert kind_of(answer, 416) == "range-not-satisfiable"
        assert answer.headers["Content-Range"] == f"bytes */{SIZE}"
    for asked in ("bytes=9-5", "bytes=a-b", "lines=1-2", "bytes=", "bytes=0-1,5-6", "bytes=99999999999999999999-"):
        assert api.data(content, headers={"Range": asked}).status_code in (200, 416), asked


def test_unknown_contents_and_the_size_that_belongs_to_the_content(api, content):
    assert kind_of(api.data(ABSENT), 404) == "unknown-content"
    assert kind_of(api.get(f"/v1/files/{content.root}/data?size={SIZE - 1}"), 404) == "unknown-content"
    for query in ("", "?size=", "?size=x", "?size=-1", "?size=1e3", f"?size={2**64}", f"?size={2**63}"):
        assert kind_of(api.get(f"/v1/files/{content.root}/data{query}"), 400) == "invalid-query", query
    for root in ("x" * 64, content.root.upper(), content.root[:-1], content.root + "0", "%00", "..", "a%2Fb"):
        assert api.get(f"/v1/files/{root}/data?size={SIZE}").status_code in (400, 404), root


def test_a_browser_is_told_not_to_interpret_the_bytes(api, content):
    for answer in (api.data(content, 0, 9), api.data(content)):
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        disposition = answer.headers["Content-Disposition"]
        assert disposition.startswith("attachment")
        assert "filename*=UTF-8''" + urllib.parse.quote(NAME, safe="") in disposition


def test_an_empty_file(start_peer, tracker, tmp_path):
    (tmp_path / "empty").touch()
    api, empty = start_peer(tracker=tracker, files=[tmp_path / "empty"]).client(), Content(b"", "empty")
    wait_until(lambda: api.files() == [empty.record()])
    assert expect(api.data(empty), 200).content == b""
    assert expect(api.layer(empty, BLOCK_SIZE), 200).content == b""
    assert api.data(empty, 0, 0).status_code == 416
    assert api.have(empty)["complete"]


# ---- layers ----


@pytest.mark.parametrize("size", [1, 16384, 16385, 65536, SIZE, 17 << 20])
def test_layers_of_all_chunk_sizes(start_peer, tracker, tmp_path, size):
    path = random_file(tmp_path / "file", size)
    api, content = start_peer(tracker=tracker, files=[path]).client(), Content.of_file(path)
    wait_until(lambda: api.files() == [content.record()])
    for chunk_size in CHUNK_SIZES:
        answer = expect(api.layer(content, chunk_size), 200)
        assert answer.content == content.layer(chunk_size), chunk_size
        assert answer.headers["Content-Type"] == "application/octet-stream"


def test_a_part_of_a_layer(api, content):
    whole = content.layer(BLOCK_SIZE)
    answer = expect(api.layer(content, BLOCK_SIZE, headers={"Range": "bytes=64-127"}), 206)
    assert answer.content == whole[64:128]
    assert answer.headers["Content-Range"] == f"bytes 64-127/{len(whole)}"
    assert api.layer(content, BLOCK_SIZE, headers={"Range": f"bytes={len(whole)}-"}).status_code == 416


def test_layers_that_do_not_exist(api, content):
    assert kind_of(api.layer(ABSENT, BLOCK_SIZE), 404) == "unknown-content"
    for chunk_size in (0, 1, 8192, 16383, 16385, 49152, 32 << 20, -16384, "x", "", 2**64):
        assert kind_of(api.layer(content, chunk_size), 400) == "invalid-query", chunk_size
    huge = f"/v1/files/{ABSENT.root}/layer?size={2**30 + 1}&chunk_size="
    assert kind_of(api.get(huge + "16384"), 400) == "layer-too-large"
    assert kind_of(api.get(huge + "32768"), 404) == "unknown-content"


def test_a_layer_finer_than_what_is_known_is_404(partial, content):
    api, _ = partial
    for chunk_size in CHUNK_SIZES:
        answer = api.layer(content, chunk_size)
        if chunk_size < PART_CHUNK:
            assert kind_of(answer, 404) == "layer-too-fine"
        else:
            assert expect(answer, 200).content == content.layer(chunk_size)


# ---- have maps and partial contents ----


def test_a_complete_content_has_no_map(api, content):
    have = api.have(content)
    assert have["complete"] and "bitmap" not in have and "pending" not in have
    assert api.have(content, since=have["version"] + 1, wait_ms=20_000)["complete"]
    base = f"/v1/files/{content.root}/have?size={SIZE}"
    for query in ("&since=x", "&since=-1", "&wait_ms=x", "&wait_ms=-1", "&wait_ms=30001"):
        assert kind_of(api.get(base + query), 400) == "invalid-query", query
    assert kind_of(api.get(f"/v1/files/{ABSENT.root}/have?size=1"), 404) == "unknown-content"


def test_a_partial_content_serves_what_is_verified(partial, content, tracker):
    api, _ = partial
    assert [one["complete"] for one in api.files()] == [False]
    have = api.have(content)
    assert not have["complete"] and have["chunk_size"] == PART_CHUNK
    pending = client.bitmap_indexes(have["pending"], content.chunk_count(PART_CHUNK)) if "pending" in have else set()
    assert not pending & {0, 1, 5}
    assert expect(api.data(content, 0, 2 * PART_CHUNK - 1), 206).content == content.data[: 2 * PART_CHUNK]
    for first, last in ((0, 2 * PART_CHUNK), (3 * PART_CHUNK, 3 * PART_CHUNK), (5 * PART_CHUNK - 1, 5 * PART_CHUNK)):
        assert kind_of(api.data(content, first, last), 404) == "not-held"
    assert kind_of(api.data(content), 404) == "not-held"
    others = tracker.client()
    wait_until(lambda: len(others.owners(content.root, SIZE)["holders"]) == 2)
    assert [one["complete"] for one in others.owners(content.root, SIZE)["holders"]] == [False, False]


def test_a_long_poll_ends_when_a_chunk_arrives(partial, content):
    api, holder = partial
    before = api.have(content)
    other, answers = client.Peer(api.url), []
    poller = threading.Thread(target=lambda: answers.append(other.have(content, before["version"], 30_000)))
    poller.start()
    time.sleep(0.5)
    assert not answers
    holder.add_held({7})
    poller.join(15)
    (answer,) = answers
    assert answer["version"] != before["version"]
    assert client.bitmap_indexes(answer["bitmap"], content.chunk_count(PART_CHUNK)) == {0, 1, 5, 7}
    other.close()


def test_a_long_poll_ends_after_its_time_and_at_once_where_the_version_is_another(partial, content):
    api, _ = partial
    version = api.have(content)["version"]
    started = time.monotonic()
    assert api.have(content, version, 1000)["version"] == version
    assert time.monotonic() - started >= 0.9
    started = time.monotonic()
    assert api.have(content, version - 1, 30_000)["version"] == version
    assert time.monotonic() - started < 20


# ---- any ----


def ask_any(api, content, chunk_size, wanted):
    count = content.chunk_count(chunk_size)
    body = {"size": content.size, "chunk_size": chunk_size, "wanted": client.bitmap(wanted, count)}
    return api.call("POST", f"/v1/files/{content.root}/any", body)


def any_index(answer, content, chunk_size):
    """Which chunk came; its bytes are checked."""
    first, last = map(int, expect(answer, 206).headers["Content-Range"].split(" ")[1].split("/")[0].split("-"))
    assert first % chunk_size == 0
    assert answer.content == content.chunk(first // chunk_size, chunk_size) and len(answer.content) == last - first + 1
    return first // chunk_size


@pytest.mark.sanitized
def test_any_sends_what_was_sent_least_often(api, content):
    chunk_size = 512 * 1024
    count = content.chunk_count(chunk_size)
    for _ in range(2):
        sent = [any_index(ask_any(api, content, chunk_size, range(count)), content, chunk_size) for _ in range(count)]
        assert sorted(sent) == list(range(count))
    assert {any_index(ask_any(api, content, chunk_size, {2}), content, chunk_size) for _ in range(3)} == {2}
    later = [any_index(ask_any(api, content, chunk_size, range(count)), content, chunk_size) for _ in range(count - 1)]
    assert 2 not in later and len(set(later)) == count - 1


def test_any_of_a_partial_content(partial, content):
    api, _ = partial
    everything = range(content.chunk_count(PART_CHUNK))
    sent = [any_index(ask_any(api, content, PART_CHUNK, everything), content, PART_CHUNK) for _ in range(6)]
    assert sorted(sent) == [0, 0, 1, 1, 5, 5]
    assert kind_of(ask_any(api, content, PART_CHUNK, {2, 3}), 404) == "not-held"


def test_any_that_cannot_be_served(api, content):
    chunk_size = 512 * 1024
    good = {"size": SIZE, "chunk_size": chunk_size, "wanted": client.bitmap({1}, content.chunk_count(chunk_size))}
    path = f"/v1/files/{content.root}/any"
    assert kind_of(ask_any(api, content, chunk_size, set()), 404) == "not-held"
    assert kind_of(ask_any(api, ABSENT, chunk_size, {0}), 404) == "unknown-content"
    for wrong in (
        {"size": -1}, {"size": "x"}, {"size": None}, {"chunk_size": 0}, {"chunk_size": 100_000}, {"chunk_size": True},
        {"wanted": ""}, {"wanted": "!!!!"}, {"wanted": "AAAAAAAA"}, {"wanted": 5}, {"wanted": None},
        {"wanted": base64.b64encode(b"\xff").decode()},
    ):  # fmt: skip
        assert kind_of(api.call("POST", path, {**good, **wrong}), 400) == "invalid-body", wrong


# ---- batches ----


def batch(api, contents):
    body = {"contents": [{"root": one.root, "size": one.size} for one in contents]}
    return api.call("POST", "/v1/batch", body, stream=True)


def split_batch(data, contents):
    """The bytes of each content in the stream, None where it was not held."""
    found, at = [], 0
    for one in contents:
        assert data[at : at + 32] == one.root_bytes
        length = int.from_bytes(data[at + 32 : at + 40], "big")
        at += 40
        found.append(None if length == 2**64 - 1 else data[at : at + length])
        at += 0 if length == 2**64 - 1 else length
    assert at == len(data)
    return found


@pytest.fixture
def small(start_peer, tracker, tmp_path):
    """A peer with small files, and one too large for batches."""
    sizes = [0, 1, 100, 16384, 16385, 200_000, 256 * 1024, 256 * 1024 + 1]
    contents = [Content.of_file(random_file(tmp_path / "s" / str(n), n, seed=n)) for n in sizes]
    api = start_peer(tracker=tracker, files=[tmp_path / "s"]).client()
    wait_until(lambda: len(api.files()) == len(sizes))
    return api, contents


@pytest.mark.sanitized
def test_a_batch_has_everything_in_order(small):
    api, contents = small
    asked = [*contents, ABSENT, *reversed(contents), Content(b"x" * 5)]
    found = split_batch(expect(batch(api, asked), 200).content, asked)
    limit = 256 * 1024
    held = [one.data if one in contents and one.size <= limit else None for one in asked]
    assert found == held


def test_a_batch_of_a_thousand(small):
    api, contents = small
    asked = [contents[n % 5] for n in range(1000)]
    assert split_batch(expect(batch(api, asked), 200).content, asked) == [one.data for one in asked]
    assert kind_of(batch(api, [*asked, ABSENT]), 400) == "invalid-body"


def test_a_file_that_changed_is_not_in_the_batch(small, tmp_path):
    api, contents = small
    (tmp_path / "s" / "100").write_bytes(b"now something else")
    (tmp_path / "s" / "1").unlink()
    found = split_batch(expect(batch(api, contents[:4]), 200).content, contents[:4])
    assert found == [b"", None, None, contents[3].data]


def test_more_batches_than_one_peer_sends_are_told_to_wait(small):
    api, contents = small
    asked = [contents[3]] * 1000
    slow = [batch(_another(api), asked) for _ in range(128)]  # nobody reads: each stays under way
    try:
        answer = batch(api, contents[:2])
        assert kind_of(answer, 503) == "busy" and answer.headers["Retry-After"] == "1"
    finally:
        for one in slow:
            one.close()
    wait_until(lambda: batch(api, contents[:2]).status_code == 200)


def _another(api):
    return client.Peer(api.url)


def test_batches_that_make_no_sense(small):
    api, contents = small
    good = {"root": contents[0].root, "size": 0}
    for wrong in (
        {}, {"contents": []}, {"contents": {}}, {"contents": [1]}, {"contents": [{**good, "root": "x"}]},
        {"contents": [{**good, "size": -1}]}, {"contents": [{**good, "root": ABSENT.root}]}, {"contents": None}, [], 5, "x",
    ):  # fmt: skip
        assert kind_of(api.call("POST", "/v1/batch", wrong), 400) == "invalid-body", wrong


# ---- whatever comes ----

PATHS = [
    "/v1/files", "/v1/files/{root}/data", "/v1/files/{root}/layer", "/v1/files/{root}/have", "/v1/files/{root}/any",
    "/v1/batch", "/v1/status", "/metrics", "/healthz",
]  # fmt: skip


def test_wrong_methods_are_405_and_wrong_paths_404(api, content):
    for path in PATHS:
        path = path.replace("{root}", content.root)
        posts = path.endswith(("/any", "/batch"))
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            if method == ("POST" if posts else "GET"):
                continue
            answer = api.call(method, path, headers={"Content-Type": "application/json"})
            assert answer.status_code == 405, (method, path)
            assert ("POST" if posts else "GET") in answer.headers["Allow"]
    for path in ("/", "/v1", "/v1/", "/v2/files", "/v1/files/", f"/v1/files/{content.root}", "//", "/%00",
                 f"/v1/files/{content.root}/data/", f"/v1/files//{content.root}/data", "/v1/../metrics"):  # fmt: skip
        assert 400 <= api.get(path).status_code < 500 or path == "/v1/../metrics", path


BODIES = [
    b"", b"{", b"}", b"null", b"[]", b"{}", b"5", b'"x"', b"{\"contents\":", b"\xff\xfe", b"\x00", b"[" * 100_000,
    b'{"a":' * 20_000, b'{"contents":[{"root":"' + b"0" * 100_000 + b'"}]}', b'{"size":1e400}', b'{"size":NaN}',
    b'{"contents":[],"contents":[]}', b"{},{}" * 30_000, b"x" * (256 * 1024 + 1),
]  # fmt: skip


def test_wrong_bodies_are_refused_and_do_no_harm(api, content):
    for path in ("/v1/batch", f"/v1/files/{content.root}/any"):
        for body in BODIES:
            answer = api.call("POST", path, body)
            assert 400 <= answer.status_code < 500, (path, body[:30], answer.status_code)
        expect_problem(api.call("POST", path, "{}", headers={"Content-Type": "text/plain"}), 415)
        expect_problem(api.call("POST", path, "{}", headers={"Origin": "http://evil.example"}), 403)
        expect_problem(api.call("POST", path, "x" * (300 * 1024)), 413)
    expect_problem(api.get("/v1/status", headers={"Host": "evil.example"}), 421)


def test_nonsense_never_leads_to_an_error_of_the_server(api, content):
    generator = random.Random(11)
    words = [
        content.root, str(SIZE), "size", "chunk_size", "16384", "since", "wait_ms", "after", "limit", "-1", "%", "%zz",
        "%00", "%ff", "=", "&", "?", "/", "..", "0" * 30, "a" * 300, "data", "layer", "have", "any", "files", "é",
    ]  # fmt: skip
    for _ in range(400):
        path = "/v1/" + "".join(generator.choice(words) for _ in range(generator.randrange(1, 8)))
        line = f"{generator.choice(['GET', 'HEAD', 'POST'])} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        data = client.raw(api.url, line.encode() + b"Content-Length: 0\r\n\r\n")
        assert data == b"" or data.split(b" ")[1] < b"500", (path, data[:200])


def test_bytes_that_are_not_http(api):
    generator = random.Random(12)
    for data in (b"\x16\x03\x01\x02\x00\x01", b"\r\n" * 50, b"GET / HTTP/9.9\r\n\r\n", b"GET\r\n\r\n", b"\x00" * 1000,
                 *(generator.randbytes(500) + b"\r\n\r\n" for _ in range(10))):  # fmt: skip
        answer = client.raw(api.url, data, timeout_s=1)
        assert answer == b"" or answer.split(b" ")[1] < b"500" or b" 505 " in answer.split(b"\r\n")[0]


def test_a_client_that_leaves_in_the_middle_does_no_harm(api, content):
    for _ in range(250):  # nor hold up others: at a second each this would be too long
        with api.data(content, stream=True) as answer:
            next(answer.iter_content(1000))
    assert hashlib.sha256(api.data(content).content).digest() == hashlib.sha256(content.data).digest()


def test_the_clock_is_believed_in_reason(api):
    api.clock.value = 5_000_000
    assert api.status()["clock"] > 5_000_000
    for wrong in ("x", "-1", str(2**53), "99999999999999999999", "", "1e3", str(2**50)):
        answer = expect(api.get("/v1/status", headers={"Lamport-Clock": wrong}), 200)
        assert 5_000_000 < int(answer.headers["Lamport-Clock"]) < 5_001_000
