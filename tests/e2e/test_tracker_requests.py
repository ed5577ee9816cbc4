"""Every endpoint with every kind of wrong method, path, query, header and body: 4xx, never 5xx, and it serves on."""

import json
import random
import socket
import struct

import pytest
from client import Content, Identity, expect
from raw_http import RawClient, chunked, exchange_all, request

pytestmark = pytest.mark.sanitized

ITEM = Content(b"good", "good")
OWN = Identity(b"\x01" * 32)
BODY_MAX = 256 * 1024
RECORD = {"name": "a/b", "size": 4, "root": ITEM.root, "complete": True}
REGISTRATION = {
    "id": OWN.id, "host": "127.0.0.1", "port": 7002, "instance": "1" * 32, "previous": "2" * 32,
    "addresses": ["127.0.0.1:7002"], "files": [RECORD],
}  # fmt: skip
# method, path, a good body
ROUTES = [
    ("POST", "/v1/peers", REGISTRATION),
    ("GET", "/v1/peers", None),
    ("POST", f"/v1/peers/{OWN.id}/heartbeat", {}),
    ("POST", f"/v1/peers/{OWN.id}/files", {"add": [RECORD], "remove": [{"root": ITEM.root, "size": 4, "name": "a/b"}]}),
    ("DELETE", f"/v1/peers/{OWN.id}", None),
    ("GET", "/v1/files", None),
    ("GET", f"/v1/files/{ITEM.root}", None),
    ("POST", "/v1/holders", {"contents": [{"root": ITEM.root, "size": 4}]}),
    ("GET", "/healthz", None),
    ("GET", "/metrics", None),
]
BEARER = ("Authorization", "Bearer " + OWN.secret.hex())


def good(method, path, body, headers=()):
    data = None if body is None else json.dumps(body).encode()
    return request(method, path, [BEARER, *headers], data)


@pytest.fixture
def asker(start_tracker):
    """ask(data, ...) of a tracker that is the same afterwards."""
    tracker = start_tracker("--expire", "600")
    peer = tracker.client()
    peer.register(7001, [ITEM.record()], host="127.0.0.1")
    with RawClient((tracker.host, tracker.port)) as client:
        asker = Asker(client)
        yield asker
    assert asker.count > 0
    expect(tracker.client().get("/healthz"), 200)
    assert peer.heartbeat()["files"] == 1
    assert ("good", 4) in {(row["name"], row["size"]) for row in peer.files()}
    tracker.stop()
    assert "failed" not in tracker.err(), tracker.err()


class Asker:
    def __init__(self, client):
        self.client = client
        self.count = 0

    def __call__(self, data, *allowed, what=None, head=False):
        """An answer of 1xx to 4xx, or one of these statuses: hundreds (4) or the number itself."""
        self.count += 1
        status, headers, body = self.client.ask(data, head)
        told = f"{status} {body[:200]} for {what or data[:300]}"
        if allowed:
            assert status in allowed or status // 100 in allowed, told
        else:
            assert 100 <= status < 500, told
        if status >= 400 and b"problem" in headers.get(b"content-type", b""):
            assert head or json.loads(body)["status"] == status, told
        return status


    def all(self, sendings):
        """Each on a connection of its own; who does not get an answer of that kind is cut off."""
        for data, answer in zip(sendings, exchange_all(self.client.address, sendings), strict=True):
            self.count += 1
            # 505 is the answer to another version of HTTP, and nothing of ours.
            status = answer.split()[1] if answer else b"400"
            assert status[:1] in (b"1", b"2", b"4") or status == b"505", (data[:300], answer[:300])


# ---- methods and paths ----

METHODS = ["GET", "POST", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "Post", "X",
           "G" * 300, "M-SEARCH", "GET\t", "\xff\xfe"]  # fmt: skip


def test_wrong_methods(asker):
    for _, path, _ in ROUTES:
        known = {method for method, other, _ in ROUTES if other == path}
        known |= {"HEAD"} if "GET" in known else set()
        for method in METHODS:
            if method not in known:
                asker(request(method, path, [BEARER]), 4, head=method == "HEAD")
                asker(request(method, path, [BEARER], b"{}"), 4, head=method == "HEAD")


def wrong_paths(path):
    yield from (path + more for more in ("/", "//", "/.", "/..", "/x", "%00", "%2f", "%2e%2e", ";v=1", "\\", "%", "%zz"))
    yield from (path + more for more in ("\x7f", "\u00e9", "%ff", "%c0%ae", "x" * 100, "x" * 4000, "/x" * 2000, "%20"))
    yield from ("/" + path, "/." + path, "/../" + path, "/%2e%2e" + path, path[1:], path.upper(), path.replace("/", "//"))
    yield from (path.replace("/", "\\"), path[:-1] + "\x01", path[:3], "http://x" + path)


def test_wrong_paths(asker):
    for method, path, body in ROUTES:
        for wrong in wrong_paths(path):
            # Without a body there is nothing that a connection could be out of step with.
            asker(good(method, wrong, body), 4, what=(method, wrong[:100]))
    for path in ("*", "/", "//", "?", "/?", "#", "/%", "/v1", "/v1/", "/v2/peers", "/" + "a" * 7000, "/" * 9000, "/?" + "a" * 9000):
        asker(request("GET", path), 4, what=path[:100])


IDS = ["", "x", "0", OWN.id[:-1], OWN.id + "0", OWN.id.upper(), "g" * 64, "%00" * 64, "-" * 64, OWN.id[:63] + "%00", "a" * 200,
       OWN.id[:62] + "%41", "..", ".", "%2e%2e", OWN.id[:32] + "/" + OWN.id[32:], "\u0663" * 64]  # fmt: skip


def test_wrong_ids_and_roots(asker):
    for one in IDS:
        for method, path, body in ROUTES:
            for named in (OWN.id, ITEM.root):
                if named in path:
                    asker(good(method, path.replace(named, one), body), 4, what=(method, path, one))


# ---- queries ----

NUMBERS = ["", "0", "-1", "1001", "+1", " 1", "1 ", "1.0", "1e2", "0x10", "٣", "%D9%A3", "99999999999999999999", "x", "%00",
           "18446744073709551616", "18446744073709551615", "9223372036854775808", "1%00", "NaN", "1;2", "1,2"]  # fmt: skip
TEXTS = ["", "%", "%2", "%zz", "%ff", "%00", "%c0%80", "%ed%a0%80", "%01", "a%0ab", "*" * 600, "?" * 600, "%", "'", '"', "\\",
         "'; DROP TABLE peers; --", '"" OR "', "NEAR(a b)", "a*", "^a", "-a", "a AND", "%F0%9F%92%A9", "[", "]", "[a-", "[^]",
         "*" * 500, "*?" * 250, "a*" * 250, "x" * 512, "x" * 7000]  # fmt: skip


def encoded(text):
    return text.replace(" ", "%20").encode()


@pytest.mark.both_stores
def test_wrong_queries(asker):
    holders = f"/v1/files/{ITEM.root}"
    for path, name in (("/v1/peers", "limit"), ("/v1/files", "limit"), (holders, "limit")):
        for value in NUMBERS:
            asker(request("GET", f"{path}?{name}=".encode() + encoded(value)), 4)
    for value in NUMBERS:
        if value not in ("0", "1001"):
            asker(request("GET", f"{holders}?size=".encode() + encoded(value)), 4)
        asker(good("POST", f"/v1/holders?limit={value.replace(' ', '%20')}", ROUTES[7][2]), 4)
    for path in ("/v1/peers", "/v1/files", holders, "/healthz", "/metrics"):
        for name in ("q", "after", "limit", "size", "other", ""):
            for value in TEXTS:
                asker(request("GET", f"{path}?{name}=".encode() + encoded(value)), 2, 4)
        for query in ("?", "&", "=", "&&&", "q", "q&q", "limit=5&limit=x", "limit=x&limit=5", "=&=", "?limit=5", "a" * 6000,
                      "&".join(f"a{n}=1" for n in range(80)), "q=a&q=%ff", "%00=1", "limit%00=1", "li%6dit=0"):  # fmt: skip
            asker(request("GET", f"{path}?{query}"), 2, 4)


@pytest.mark.both_stores
def test_cursors_that_nobody_gave(asker):
    dice = random.Random(5)
    for path in ("/v1/peers", "/v1/files", "/v1/files?q=good", "/v1/files?q=g*", "/v1/files?q=g"):
        for _ in range(60):
            length = dice.choice([1, 2, 16, 63, 64, 65, 128, 3000])
            cursor = "".join(dice.choice("0123456789abcdef-._~%zZ") for _ in range(length))
            asker(request("GET", f"{path}{'&' if '?' in path else '?'}after={cursor}"), 2, 4)


# ---- headers ----

WRONG_HEADERS = [
    [("Host", "")], [("Host", "evil.example")], [("Host", "127.0.0.1"), ("Host", "127.0.0.1")], [("Host", "[::1")],
    [("Host", "127.0.0.1:99999")], [("Host", "a" * 300)], [("Host", "\xff")], [("Host", "127.0.0.1, 127.0.0.1")],
    [("Content-Length", "-1")], [("Content-Length", "x")], [("Content-Length", "+2")], [("Content-Length", "0x2")],
    [("Content-Length", "2"), ("Content-Length", "2")], [("Content-Length", "2"), ("Content-Length", "3")],
    [("Content-Length", "99999999999999999999")], [("Content-Length", "18446744073709551615")],
    [("Content-Length", "2"), ("Transfer-Encoding", "chunked")], [("Content-Length", "2, 2")],
    [("Transfer-Encoding", "identity")], [("Transfer-Encoding", "gzip")], [("Transfer-Encoding", "gzip, chunked")],
    [("X" * 9000, "1")], [("X", "1" * 9000)], [(f"X-{n}", "1") for n in range(900)], [("Cookie", "a=b; " * 2000)],
]  # fmt: skip
# What may be there; never the reason of a 5xx.
ODD_HEADERS = [
    [("Lamport-Clock", value)] for value in ("", "-1", "x", "9007199254740992", "9" * 40, "1.5", " 7 ", "\xff", "1" * 3000)
] + [
    [("Expect", "100-continue")], [("Expect", "tea")], [("Connection", "upgrade"), ("Upgrade", "h2c")],
    [("Connection", "close")], [("Connection", "x" * 2000)], [("Range", "bytes=0-")], [("Range", "bytes=-0,-1,5-2")],
    [("Range", "x" * 3000)], [("If-Range", "x")], [("If-None-Match", "*")], [("Origin", "http://evil.example")],
    [("Origin", "null")], [("Origin", "")], [("Accept", "text/html")], [("Accept-Encoding", "gzip, br, \x01")], [("X", "")],
    [("X", "\x00")], [("X", "\xff\xfe")], [("X", "a\tb")], [("X Y", "1")], [("", "1")], [("X", "a\r\n b")], [("X", "a\nY: b")],
    [("TE", "trailers")], [("Trailer", "X")],
    [("X", "1"), ("x", "2"), ("X", "3")], [("Cookie", "=;=;;;a=\xff")], [("Content-Encoding", "gzip")],
    [("X-Forwarded-For", "1.2.3.4")], [("Content-Type", "application/json; charset=latin1")],
]  # fmt: skip
WRONG_SECRETS = [
    [], [("Authorization", "")], [("Authorization", "Bearer")], [("Authorization", "Bearer ")],
    [("Authorization", "Basic eDp5")], [("Authorization", "Bearer " + "0" * 63)], [("Authorization", "Bearer " + "g" * 64)],
    [("Authorization", "Bearer " + "0" * 64)], [("Authorization", "Bearer " + "0" * 5000)],
    [("Authorization", "Bearer \x00")], [("Authorization", "bearer\xa0x")], [("Authorization", "Bearer  " + "0" * 64)],
]  # fmt: skip
WRONG_TYPES = ["", "text/plain", "application/jsonx", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
               "application/problem+json", "json", "\xff", "x" * 3000]  # fmt: skip


def test_wrong_headers(asker):
    for method, path, body in ROUTES:
        data = None if body is None else json.dumps(body).encode()
        for headers in WRONG_HEADERS:
            two = b"{}" if "Content-Length" in str(headers) else data
            asker(request(method, path, [BEARER, *headers], two), 4, what=(method, path, str(headers)[:100]))
            asker.client.close()  # such a body may have been taken for a request
        for version in (b"HTTP/1.1", b"HTTP/1.0"):
            for headers in ODD_HEADERS:
                asker(request(method, path, [BEARER, *headers], data, version=version), 2, 4)
                asker.client.close()
        asker(request(method, path, [BEARER], data, host=None), 4)
        if body is not None:
            for kind in WRONG_TYPES:
                asker(request(method, path, [BEARER, ("Content-Type", kind)], data), 4)
    for method, path, body in ROUTES:
        if path == "/v1/peers" and method == "POST" or OWN.id in path:
            for headers in WRONG_SECRETS:
                data = None if body is None else json.dumps(body).encode()
                asker(request(method, path, headers, data), 4, what=(method, path, headers))


# ---- bodies ----

VALUES = [None, True, False, 0, -1, 1, 1.5, -0.0, 1e308, 2**53, 2**63, 2**64, "", "x", "\x00", "\ud800", "x" * 4000, "a" * 64,
          [], [[]], [None], [0], [""], ["x"], [{}], {}, {"a": {}}, [[[[[[[[[[[]]]]]]]]]]]]  # fmt: skip


def mutations(value):
    """The value with each of its parts replaced by each of VALUES, or missing."""
    yield from VALUES
    if isinstance(value, dict):
        for name in value:
            yield {key: part for key, part in value.items() if key != name}
            for part in mutations(value[name]):
                yield {**value, name: part}
    elif isinstance(value, list):
        for index, old in enumerate(value):
            for part in mutations(old):
                yield [*value[:index], part, *value[index + 1 :]]
        yield value * 1001


def posts():
    return [(path, body) for method, path, body in ROUTES if method == "POST"]


@pytest.mark.both_stores
def test_bodies_of_wrong_members(asker):
    for path, body in posts():
        for wrong in mutations(body):
            asker(request("POST", path, [BEARER], json.dumps(wrong).encode()), 2, 4)
        for wrong in VALUES:
            if not isinstance(wrong, dict):
                asker(request("POST", path, [BEARER], json.dumps(wrong).encode()), 4)


def broken(text):
    """The JSON text, damaged."""
    dice = random.Random(7)
    for cut in range(0, len(text), max(1, len(text) // 40)):
        yield text[:cut]
    for _ in range(60):
        at, byte = dice.randrange(len(text)), dice.choice([0, 0xFF, 0x22, 0x5C, 0x7B, 0x2C, 0xC0])
        yield text[:at] + bytes([byte]) + text[at + 1 :]
    for more in (b"x", b"{}", b"\x00", b",", b"]", b"\xef\xbb\xbf", b"//", b"\n" * 1000):
        yield text + more
        yield more + text
    yield from (b"[" * depth for depth in (1, 100, 2048, 2049, 100_000))
    yield from (b'{"a":' * depth + b"1" + b"}" * depth for depth in (100, 2048, 40_000))
    for number in (b"1" * 400, b"1e400", b"-1e400", b"1e-400", b"0" * 100, b"01", b"+1", b".5", b"1.", b"Infinity", b"NaN", b"1" * 100_000):
        yield b'{"port":' + number + b"}"
    yield b'{"id":"' + b"\\u0000" * 64 + b'"}'
    yield b'{"id":"\\ud800"}'
    yield b'{"a":"' + b"\xed\xa0\x80" + b'"}'
    yield b'{"' + b"\xff" * 100 + b'":1}'
    yield text[:-1] + b', "id":1, "id":2, "add":1, "contents":{} }'
    yield b"{" + b",".join(b'"%d":%d' % (n, n) for n in range(20_000)) + b"}"


def test_bodies_that_are_no_message(asker):
    for path, body in posts():
        text = json.dumps(body).encode()
        for wrong in broken(text):
            asker(request("POST", path, [BEARER], wrong), 2, 4)
        asker(request("POST", path, [BEARER]), 4)


def test_bodies_at_their_greatest_size(asker):
    for path, body in posts():
        text = json.dumps(body).encode()
        full = text + b" " * (BODY_MAX - len(text))
        for data, status in ((full, 200), (full + b" ", 413), (full * 4, 413)):
            if "heartbeat" not in path and "files" not in path:  # they need the registration, which is the first
                assert asker(request("POST", path, [BEARER], data), status)
            for size in (1000, len(data)):
                headers = [BEARER, ("Transfer-Encoding", "chunked"), ("Content-Type", "application/json")]
                asker(request("POST", path, headers) + chunked(data, size), status, 404)
        asker.client.close()


def test_bodies_in_wrong_chunks(asker):
    wrong = [b"x\r\n", b"-1\r\n", b"fffffffffffffffff\r\n", b"2;ext=1\r\n{}\r\n0\r\n\r\n", b"2\r\n{}x", b"2\n{}\n0\n\n", b"\r\n",
             b"2\r\n{}\r\n0\r\nX: 1\r\n\r\n", b"ffffffff\r\n", b"0\r\n" + b"X: 1\r\n" * 2000, b"2 \r\n{}\r\n0\r\n\r\n"]  # fmt: skip
    headers = [BEARER, ("Transfer-Encoding", "chunked"), ("Content-Type", "application/json")]
    asker.all([request(method, path, headers) + one for method, path, _ in ROUTES for one in wrong])


# ---- what is not even a request ----


def test_bytes_that_are_no_http(asker):
    dice = random.Random(3)
    lines = [b"", b"\r\n" * 100, b"\n", b"GET", b"GET /", b"GET / HTTP", b"GET / HTTP/1.1", b"GET  / HTTP/1.1\r\n\r\n", b"\x00" * 100,
             b"GET / HTTP/1.1 x\r\n\r\n", b" GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"SSH-2.0-x\r\n",
             b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/0.9\r\n\r\n", b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", b"\xff" * 10_000,
             b"GET /healthz HTTP/1.1\nHost: 127.0.0.1\n\n", b"GET /healthz HTTP/1.1\r\nHost 127.0.0.1\r\n\r\n", b"a" * 20_000,
             b"GET /healthz HTTP/1.1\r\n Host: 127.0.0.1\r\n\r\n", b"GET /healthz HTTP/1.1\r\n: x\r\n\r\n"]  # fmt: skip
    lines += [dice.randbytes(dice.choice([1, 10, 100, 5000])) for _ in range(100)]
    lines += [request("GET", "/healthz")[:cut] for cut in range(1, len(request("GET", "/healthz")), 5)]
    asker.all(lines)


def test_requests_one_after_another_without_waiting(asker):
    many = [good(method, path, body) for method, path, body in ROUTES if path != "/metrics"] * 20
    many.insert(50, request("PUT", "/v1/peers", [BEARER], b"{}"))
    asker.client.send(b"".join(many))
    statuses = [asker.client.answer()[0] for _ in many]
    asker.count += len(many)
    assert len(statuses) == len(many) and statuses.count(405) == 1
    assert set(statuses) <= {200, 204, 404, 405}


def test_half_closed_and_partial_connections(asker):
    """Who has said all that he wants to say is answered; who leaves in the middle is forgotten."""
    whole = [good(method, path, body) for method, path, body in ROUTES]
    asker.all(whole)
    partial = []
    for number in range(300):
        data = whole[number % len(whole)]
        connection = socket.create_connection(asker.client.address, 60)
        connection.sendall(data[: 1 + number * 7 % (len(data) - 1)])
        partial.append(connection)
    for data in whole:
        asker(data, 2, 404)
    for number, connection in enumerate(partial):
        if number % 3 == 0:
            connection.shutdown(socket.SHUT_WR)
        elif number % 3 == 1:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
