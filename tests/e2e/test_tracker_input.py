"""What the tracker refuses: each with a status of its own, a detail that names the fault, and nothing changed."""

import json
import socket

import pytest
from client import Content, Identity, expect, expect_problem

ITEM = Content(b"good", "good")


@pytest.fixture
def peer(tracker):
    """A registration that no refused request may change."""
    peer = tracker.client()
    peer.register(7001, [ITEM.record()], host="127.0.0.1")
    before = unaged(peer.peers())
    yield peer
    assert unaged(peer.peers()) == before
    assert [row["name"] for row in peer.files()] == ["good"]


def unaged(peers):
    return [{**peer, "age_ms": 0} for peer in peers]


def registration(peer, **members):
    body = {"id": peer.identity.id, "host": "127.0.0.1", "port": 7001, "files": [ITEM.record()], **members}
    return {name: value for name, value in body.items() if value is not ...}


def file_with(**members):
    return {name: value for name, value in {**ITEM.record(), **members}.items() if value is not ...}


WRONG_MEMBERS = [
    ("id", ...), ("id", 7), ("id", "abc"), ("id", "AB" * 32), ("id", None), ("id", "ab" * 33),
    ("port", ...), ("port", 0), ("port", 65536), ("port", -1), ("port", "7001"), ("port", 7001.5), ("port", True),
    ("port", 2**62), ("host", 7), ("host", "localhost"), ("host", "1.2.3"), ("host", "[::1]"), ("host", "fe80::1%eth0"),
    ("host", ""), ("host", "224.0.0.1"), ("host", "255.255.255.255"), ("host", "169.254.1.1"), ("host", "fe80::1"),
    ("host", "ff02::1"), ("instance", "xyz"), ("instance", 5), ("instance", "ab" * 17),
    ("files", {}), ("files", "good"), ("files", [1]), ("files", [[]]), ("files", [None]),
    ("addresses", "x"), ("addresses", ["nowhere"]),
]  # fmt: skip

WRONG_FILES = [
    ("name", ...), ("name", 5), ("name", ""), ("name", "../../evil"), ("name", "/etc/passwd"), ("name", "a/../b"),
    ("name", "a//b"), ("name", "a/"), ("name", "."), ("name", "x\ny"), ("name", "x\x7f"),
    ("name", "n" * 256), ("name", "a/.enxame/key"), ("name", "\u202eexe.txt"), ("name", "/".join(["d"] * 65)),
    ("size", ...), ("size", -1), ("size", 1.5), ("size", "4"), ("size", 2**53), ("size", 2**63 - 1), ("size", None),
    ("root", ...), ("root", 5), ("root", "xyz"), ("root", ITEM.root.upper()), ("root", ITEM.root + "00"),
    ("complete", 1), ("complete", "true"), ("complete", None),
]  # fmt: skip


@pytest.mark.sanitized
def test_a_wrong_member_of_a_registration_is_named(peer):
    for member, value in WRONG_MEMBERS:
        body = registration(peer, **{member: value})
        expect_problem(peer.call("POST", "/v1/peers", body, peer.identity.bearer), 400, member)


@pytest.mark.sanitized
def test_a_wrong_member_of_a_file_is_named(peer):
    for member, value in WRONG_FILES:
        files = [ITEM.record("other"), file_with(**{member: value})]
        expect_problem(peer.try_register(7001, files, "127.0.0.1"), 400, f"files[1].{member}")
        expect_problem(peer.try_change(add=files), 400, f"add[1].{member}")
        if member not in ("complete", "name"):
            expect_problem(peer.try_change(remove=files), 400, f"remove[1].{member}")


def json_bombs():
    yield "nothing", b""
    yield "not JSON", b"{"
    yield "no object", b"[]"
    yield "a number", b"1"
    yield "null", b"null"
    yield "trailing bytes", b"{}{}"
    yield "not UTF-8", b'{"id":"\xff\xfe"}'
    yield "deep arrays", b"[" * 100_000
    yield "deep objects", b'{"a":' * 40_000
    yield "deep and closed", b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"}"
    yield "a NUL", b'{"id":"\\u0000"}'
    yield "a lone surrogate", b'{"id":"\\ud800"}'
    yield "a huge number", b'{"port":1e999999}'
    yield "many items", b"[" + b"{}," * 80_000 + b"{}]"
    yield "too many files", json.dumps({"files": [{}] * 1001}).encode()


@pytest.mark.sanitized
def test_a_body_that_is_no_message_is_400(peer):
    own = f"/v1/peers/{peer.identity.id}"
    for kind, body in json_bombs():
        paths = ["/v1/peers", "/v1/holders"]
        if kind != "too many files":  # a member that these two do not know
            paths += [own + "/files", own + "/heartbeat"]
        for path in paths:
            answer = peer.call("POST", path, body, peer.identity.bearer)
            assert answer.status_code == 400, (kind, path, answer.text)
            expect_problem(answer, 400)


def test_a_body_over_its_cap_is_413(peer):
    body = json.dumps(registration(peer, more="x" * 256 * 1024))
    expect_problem(peer.call("POST", "/v1/peers", body, peer.identity.bearer), 413)


@pytest.mark.both_stores
def test_a_registration_of_more_than_1000_files_is_refused(peer):
    expect_problem(peer.try_register(7001, [ITEM.record(str(n)) for n in range(1001)]), 400, "files")


@pytest.mark.parametrize(
    ("header", "status", "kind"),
    [
        (None, 401, "secret-missing"),
        ("", 401, "secret-missing"),
        ("Basic dXNlcjpwYXNz", 401, "secret-missing"),
        ("Bearer", 401, "secret-missing"),
        ("Bearer xyz", 401, "secret-missing"),
        ("Bearer " + "00" * 31, 401, "secret-missing"),
        ("Bearer " + "00" * 32, 403, "secret-wrong"),
    ],
)
def test_only_the_secret_of_an_id_changes_its_registration(peer, header, status, kind):
    own = peer.identity.id
    for method, path, body in (
        ("POST", "/v1/peers", registration(peer, files=[])),
        ("POST", f"/v1/peers/{own}/heartbeat", {}),
        ("POST", f"/v1/peers/{own}/files", {"remove": [{"root": ITEM.root, "size": 4}]}),
        ("DELETE", f"/v1/peers/{own}", None),
    ):
        answer = peer.call(method, path, body, {"Authorization": header})
        assert expect_problem(answer, status).endswith(":" + kind)
        assert (answer.headers.get("WWW-Authenticate") == "Bearer") == (status == 401)


@pytest.mark.both_stores
def test_another_peer_changes_nothing_of_a_registration(peer):
    thief = Identity()
    for method, path, body in (
        ("POST", "/v1/peers", registration(peer, files=[])),
        ("POST", f"/v1/peers/{peer.identity.id}/files", {"remove": [{"root": ITEM.root, "size": 4}]}),
        ("DELETE", f"/v1/peers/{peer.identity.id}", None),
    ):
        assert expect_problem(peer.call(method, path, body, thief.bearer), 403).endswith(":secret-wrong")


@pytest.mark.both_stores
def test_an_unknown_id_is_404(peer):
    stranger = peer.as_other()
    for answer in (stranger.try_heartbeat(), stranger.try_change(add=[ITEM.record()]), stranger.try_unregister()):
        assert expect_problem(answer, 404).endswith(":unknown-peer")


WRONG_ARGUMENTS = [
    ("/v1/files?limit=0", "limit"),
    ("/v1/files?limit=1001", "limit"),
    ("/v1/files?limit=-1", "limit"),
    ("/v1/files?limit=1e2", "limit"),
    ("/v1/files?limit=", "limit"),
    ("/v1/files?after=x", "after"),
    ("/v1/files?after=-1", "after"),
    ("/v1/files?after=", "after"),
    ("/v1/files?after=99999999999999999999", "after"),
    ("/v1/files?q=" + "x" * 513, "q"),
    ("/v1/files?q=a%02b", "q"),
    ("/v1/files?q=%00", ""),
    ("/v1/files?q=%ff", ""),
    ("/v1/peers?limit=x", "limit"),
    ("/v1/peers?after=xyz", "after"),
    ("/v1/peers?after=" + "A" * 64, "after"),
    ("/v1/files/xyz", "root"),
    ("/v1/files/" + "AB" * 32, "root"),
    ("/v1/files/" + "ab" * 31, "root"),
    (f"/v1/files/{ITEM.root}?size=x", "size"),
    (f"/v1/files/{ITEM.root}?size=-4", "size"),
    (f"/v1/files/{ITEM.root}?limit=0", "limit"),
]


@pytest.mark.sanitized
def test_a_wrong_argument_is_named(peer):
    for path, word in WRONG_ARGUMENTS:
        expect_problem(peer.get(path), 400, word)


@pytest.mark.both_stores
def test_unknown_contents_are_404(peer):
    assert expect_problem(peer.get("/v1/files/" + "ab" * 32), 404).endswith(":unknown-content")
    assert expect_problem(peer.get(f"/v1/files/{ITEM.root}?size=5"), 404).endswith(":unknown-content")


@pytest.mark.parametrize(
    "contents", [[], {}, None, ["x"], [{"root": ITEM.root}], [{"root": "x", "size": 1}], [{"root": ITEM.root, "size": -1}]]
)
def test_wrong_lists_of_contents_are_400(peer, contents):
    expect_problem(peer.call("POST", "/v1/holders", {"contents": contents}), 400, "contents")


def test_a_malformed_id_in_the_path_is_400(peer):
    for method, path in (
        ("DELETE", "/v1/peers/xyz"),
        ("POST", "/v1/peers/" + peer.identity.id.upper() + "/heartbeat"),
        ("POST", "/v1/peers/" + peer.identity.id[:-1] + "/files"),
    ):
        body = {} if method == "POST" else None
        expect_problem(peer.call(method, path, body, peer.identity.bearer), 400, "id")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/v1/peers", 405),
        ("DELETE", "/v1/peers", 405),
        ("POST", "/v1/files", 405),
        ("GET", "/v1/holders", 405),
        ("DELETE", "/metrics", 405),
        ("GET", "/", 404),
        ("GET", "/v1/peers/", 404),
        ("GET", "/v1/files/a/b", 404),
    ],
)
def test_other_paths_and_methods_are_refused(peer, method, path, status):
    expect_problem(peer.call(method, path), status)


def test_pages_of_other_sites_and_other_media_types_are_refused(peer):
    body = registration(peer, files=[])
    bearer = peer.identity.bearer
    expect_problem(peer.call("POST", "/v1/peers", body, {**bearer, "Origin": "http://evil.example"}), 403)
    expect_problem(peer.call("POST", "/v1/peers", body, {**bearer, "Content-Type": "text/plain"}), 415)
    expect_problem(peer.get("/v1/peers", headers={"Host": "evil.example"}), 421)


def test_a_host_given_on_the_command_line_is_answered(start_tracker):
    peer = start_tracker("--allow-host", "tracker.example").client()
    expect(peer.get("/v1/peers", headers={"Host": "tracker.example"}), 200)


def test_an_endless_header_is_cut_off(tracker):
    with socket.create_connection((tracker.host, tracker.port), 10) as raw:
        raw.settimeout(20)
        try:
            raw.sendall(b"GET /v1/peers HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
            for _ in range(1000):
                raw.sendall(b"x" * 1024)
            answer = raw.recv(4096)
        except ConnectionError:
            answer = b""
    assert answer == b"" or b" 431 " in answer.split(b"\r\n")[0]
    expect(tracker.client().get("/healthz"), 200)


@pytest.mark.both_stores
def test_clients_that_leave_before_the_answer_do_no_harm(peer, tracker):
    body = json.dumps(registration(peer)).encode()
    head = (
        f"POST /v1/peers HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {peer.identity.secret.hex()}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    for cut in (10, len(head) - 1, len(head) + 10, len(head) + len(body)):
        for _ in range(20):
            with socket.create_connection((tracker.host, tracker.port), 10) as raw:
                raw.sendall((head + body)[:cut])
    assert peer.heartbeat()["files"] == 1
