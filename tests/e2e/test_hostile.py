"""Trackers and registrations that mean harm: nonsense, names that lead out of the folder, false sizes, forged contents."""

import contextlib
import http.server
import json
import os
import re
import socket
import threading

import pytest

from client import Content, FakeHolder, Identity, expect_problem
from programs import random_file, wait_until

# ---- a tracker that answers what a test wants ----


class FakeTracker(http.server.ThreadingHTTPServer):
    """routes is {(method, path prefix): function(handler) or a value to send as JSON}."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, routes):
        super().__init__(("127.0.0.1", 0), _FakeTrackerHandler)
        self.routes = routes
        self.asked = []
        self.address = f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        pass

    @contextlib.contextmanager
    def running(self):
        thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            self.server_close()
            thread.join()


class _FakeTrackerHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self):
        self.body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.server.asked.append((self.command, self.path))
        fitting = [one for one in self.server.routes if one[0] == self.command and self.path.startswith(one[1])]
        value = self.server.routes[max(fitting, key=lambda one: len(one[1]))] if fitting else None
        if callable(value):
            value(self)
        elif value is None:
            self.send(200, {"heartbeat_s": 10, "expires_s": 30, "files": 0})
        else:
            self.send(200, value)

    do_GET = do_POST = do_DELETE = answer  # noqa: N815

    def send(self, status, value, kind="application/json"):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def holders_of(found):
    """A tracker's answer to POST /v1/holders, of these rows."""

    def answer(handler):
        asked = {one["root"] for one in json.loads(handler.body)["contents"]}
        handler.send(200, {"contents": [one for one in found if one["root"] in asked]})

    return answer


def problem(handler):
    handler.send(500, {"type": "x", "title": "x", "status": 500, "detail": "bad \x1b]0;evil\x07 thing"})


BAD_ANSWERS = {
    "garbage": lambda handler: handler.wfile.write(os.urandom(2000)),
    "closed": lambda handler: handler.connection.shutdown(socket.SHUT_RDWR),
    "a page": lambda handler: handler.send(200, b"<html>welcome</html>", "text/html"),
    "500 with escapes": problem,
    "404": lambda handler: handler.send(404, b""),
    "a list": lambda handler: handler.send(200, []),
    "wrong types": lambda handler: handler.send(200, {"heartbeat_s": "x", "expires_s": [], "files": {}, "peers": 5}),
    "huge": lambda handler: handler.send(200, b'{"files":[' + b"0," * 3_000_000 + b"0]}"),
    "deep": lambda handler: handler.send(200, b'{"files":' * 50_000),
    "redirect": lambda handler: (handler.send_response(302), handler.send_header("Location", "http://127.0.0.1:1/"),
                                 handler.send_header("Content-Length", "0"), handler.end_headers()),
}  # fmt: skip


@pytest.mark.sanitized
@pytest.mark.parametrize("answer", BAD_ANSWERS)
def test_a_tracker_that_answers_nonsense(start_peer, run_peer, tmp_path, answer):
    bad = BAD_ANSWERS[answer]
    path = random_file(tmp_path / "file", 1000)
    with FakeTracker({("GET", "/"): bad, ("POST", "/"): bad, ("DELETE", "/"): bad}).running() as tracker:
        peer = start_peer(tracker=tracker, files=[path])
        wait_until(lambda: tracker.asked and peer.client().files())
        done = run_peer(["peers", "search", "owners x", "download x"], tracker=tracker)
        assert done.status == 1 and done.stderr
        assert "\x1b" not in done.stderr + peer.err() and "\x07" not in done.stderr
        assert peer.alive
        peer.stop()


# ---- names that lead out ----

EVIL = [
    "../../evil", "../evil", "/tmp/enxame-evil", "a/../../evil", ".enxame/x", ".ENXAME/secret", "a/.enxame/x", "a//evil",
    "./evil", "evil/", "..", ".", "", "evil\x00.txt", "evil\n", "\x1b[31mevil", "evil\x7f", "evil\u202etxt", "x" * 256,
    "a/" * 70 + "evil", "y" * 4000,
]  # fmt: skip


def everything_below(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_tracker_takes_no_evil_name(tracker):
    content = Content(b"evil")
    for name in EVIL:
        answer = tracker.client().try_register(7001, [{**content.record(), "name": name}])
        expect_problem(answer, 400, "name" if "\x00" not in name else "JSON")
    assert tracker.client().files() == []


@pytest.mark.sanitized
def test_evil_names_from_a_tracker_never_lead_out_of_dir(run_peer, tmp_path):
    evil = [name for name in EVIL if "\x00" not in name]  # JSON with a NUL is refused as a whole
    contents = [Content(f"evil {number}".encode()) for number in range(len(evil))]
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(FakeHolder(content)) for content in contents]
        routes = {("GET", "/v1/files"): {"files": [
            {"name": name, "size": content.size, "root": content.root, "holders": 1}
            for name, content in zip(evil, contents)
        ]}}  # fmt: skip
        for name, content, holder in zip(evil, contents, holders):
            row = {"id": holder.id, "host": holder.host, "port": holder.port, "complete": True}
            routes["GET", "/v1/files/" + content.root] = {
                "root": content.root, "size": content.size, "names": [name], "holders": [row], "other_sizes": [],
                "holders_total": 1,
            }  # fmt: skip
        routes["POST", "/v1/holders"] = holders_of([value for value in routes.values() if "root" in value])
        tracker = stack.enter_context(FakeTracker(routes).running())
        home = tmp_path / "deep/er/d"
        lines = "search\n" + "".join(f"download #{n + 1}\ndownload {one.root}\n" for n, one in enumerate(contents))
        lines += "".join(f"download '{name}'\n" for name in evil if "\n" not in name)
        done = run_peer(tracker=tracker, dir=home, stdin=lines)
    assert not re.search("[\x1b\x7f\u202e]", done.stdout + done.stderr)
    assert everything_below(tmp_path) - everything_below(home) <= {"deep", "deep/er", "deep/er/d"} | {
        "deep/er/d/" + one for one in everything_below(home)
    }
    assert not os.path.exists("/tmp/enxame-evil")
    landed = {one for one in everything_below(home) if not one.startswith(".enxame")}
    assert landed == {content.root for content in contents}  # a content without a usable name has its root as name
    assert {one for one in everything_below(home / ".enxame")} <= {
        "lock", "secret", "place", "instance", "state.db", "state.db-wal", "state.db-shm", "parts",
    }  # fmt: skip


def test_a_listing_with_a_nul_is_refused(run_peer):
    content = Content(b"evil")
    rows = [{"name": name, "size": 4, "root": content.root, "holders": 1} for name in ("evil\x00.txt", "good")]
    with FakeTracker({("GET", "/v1/files"): {"files": rows}}).running() as tracker:
        done = run_peer(["search", "download evil"], tracker=tracker)
    assert done.status == 1 and done.stderr and "\x00" not in done.stdout + done.stderr
    assert everything_below(done.dir) & {"evil", "evil.txt"} == set()


@pytest.mark.parametrize("link", ["folder", "file", "dangling"])
def test_a_symbolic_link_in_dir_leads_nowhere(tracker, run_peer, tmp_path, link):
    content = Content(b"evil bytes", "way/out/evil")
    outside, home = tmp_path / "outside", tmp_path / "d"
    (home / "way").mkdir(parents=True)
    outside.mkdir()
    if link == "folder":
        (home / "way/out").symlink_to(outside)
    elif link == "file":
        (home / "way/out").mkdir()
        (outside / "evil").write_bytes(b"0123456789")
        (home / "way/out/evil").symlink_to(outside / "evil")
    else:
        (home / "way/out").symlink_to(outside / "new")
    with FakeHolder(content, tracker=tracker.address):
        done = run_peer(["download way/out/evil"], tracker=tracker, dir=home)
    assert done.status == 1, done.stdout
    assert everything_below(outside) == ({"evil"} if link == "file" else set())
    if link == "file":
        assert (outside / "evil").read_bytes() == b"0123456789"


def test_a_holder_address_that_aims_at_somebody_else(run_peer):
    """Loopback is believed from a tracker on loopback; other unusable addresses are passed over."""
    content = Content.random(100_000, name="file")
    rows = [{"id": Identity().id, "host": host, "port": port, "complete": True}
            for host, port in (("0.0.0.0", 80), ("::", 80), ("224.0.0.1", 80), ("255.255.255.255", 80), ("fe80::1", 80),
                               ("localhost", 80), ("evil host", 80), ("127.0.0.1", 0), ("127.0.0.1", 70000))]  # fmt: skip
    with FakeHolder(content) as holder:
        good = {"id": holder.id, "host": holder.host, "port": holder.port, "complete": True}
        found = {"root": content.root, "size": content.size, "names": ["file"], "holders": [*rows, good],
                 "other_sizes": [], "holders_total": 10}  # fmt: skip
        listing = {"files": [{"name": "file", "size": content.size, "root": content.root, "holders": 10}]}
        routes = {("GET", "/v1/files"): listing, ("POST", "/v1/holders"): holders_of([found])}
        with FakeTracker(routes).running() as tracker:
            done = run_peer(["download file"], tracker=tracker).ok()
        assert (done.dir / "file").read_bytes() == content.data


# ---- false sizes ----


def forged(content):
    """A content of 64 bytes with the same root: the two topmost hashes."""
    return Content(b"".join(content._levels[-2]), content.name)


@pytest.mark.parametrize("difference", [-1, 1, -20_000, 70_000])
def test_a_root_registered_with_a_false_size_brings_nothing(tracker, start_shell, difference):
    content = Content.random(300_000, name="file")
    liar, false = tracker.client(), content.size + difference
    with FakeHolder(content, tracker=tracker.address) as holder:
        liar.register(7001, [{**content.record(), "size": false}], holder.host)
        shell = start_shell(tracker=tracker)
        shell.say("download file")
        wait_until(lambda: shell.err().count(content.root[:12]) == 2)
        shell.say("search")
        wait_until(lambda: shell.out().count(content.root[:12]) == 2)
        sizes = sorted([content.size, false])
        listed = [row["size"] for row in liar.files()]
        assert sorted(listed) == sizes
        shell.say(f"download #{listed.index(content.size) + 1}")
        wait_until(lambda: (shell.dir / "file").exists())
        assert (shell.dir / "file").read_bytes() == content.data
        shell.say(f"download #{listed.index(false) + 1} as false")
        # The honest holder is told to be one of the false size, too.
        liar.as_other(holder.identity).change(add=[{**content.record(), "size": false}])
        api = shell.client(tracker)
        wait_until(lambda: [one["state"] for one in api.status()["downloads"]] == ["done", "stalled"])
        assert not (shell.dir / "false").exists()


@pytest.mark.sanitized
def test_a_forged_shorter_content_is_another_content(tracker, start_shell):
    content = Content.random(300_000, name="file")
    short = forged(content)
    assert short.root == content.root and short.size == 64
    with (
        FakeHolder(content, tracker=tracker.address) as honest,
        FakeHolder(short, tracker=tracker.address) as forger,
    ):
        shell = start_shell(tracker=tracker)
        shell.say(f"download {content.root}")
        wait_until(lambda: shell.err().count(content.root[:12]) >= 2)
        shell.say("search")
        wait_until(lambda: shell.out().count(content.root[:12]) == 2)
        rows = re.findall(rf"^(\d+) +(.*?) +{content.root[:12]}", shell.out(), re.MULTILINE)
        number = {size: row for row, size in rows}
        shell.say(f"download #{number['64 B']} as short")
        shell.say(f"download #{next(row for size, row in number.items() if size != '64 B')} as whole")
        assert shell.end() == 1  # of the first command
        assert (shell.dir / "whole").read_bytes() == content.data
        assert (shell.dir / "short").read_bytes() == short.data
        assert forger.sent_bytes == 64 and honest.sent_bytes == content.size
