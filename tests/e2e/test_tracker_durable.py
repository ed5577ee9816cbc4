"""What the tracker answered is on the disk: seen in its system calls, and by killing it."""

import collections
import concurrent.futures
import contextlib
import json
import re
import socket
import sqlite3

import programs
import pytest
from client import Identity
from ledger import Ledger, record
from programs import need_strace, wait_until

KILLS = 100 if programs.LONG else 5


# ---- system calls ----


def strace_words(path):
    """A wrapper that traces the program into `path`.  The tracer is the child (-D): signals go to the program."""
    calls = "trace=recvfrom,recvmsg,read,sendto,sendmsg,writev,sendfile,pwrite64,fdatasync,fsync"
    return ["strace", "-D", "-f", "-y", "-s", "200", "-e", calls, "-o", path]


Call = collections.namedtuple("Call", "name file text result began ended")


def calls_of(trace):
    """The calls of a trace, with the numbers of the lines at which they began and ended: these are in true order."""
    calls, open_calls = [], {}
    for number, line in enumerate(trace.splitlines()):
        pid, rest = line.split(maxsplit=1)
        if resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", rest):
            began, first = open_calls.pop(pid)
            rest = first + resumed[1]
        else:
            began = number
        if rest.endswith("<unfinished ...>"):
            open_calls[pid] = (began, rest.removesuffix("<unfinished ...>"))
            continue
        found = re.match(r"(\w+)\(\d+<(.*?)>(.*)\)\s+= (-?\d+)", rest)
        if found:
            calls.append(Call(found[1], found[2], found[3], int(found[4]), began, number))
    return calls


def writes_of(calls):
    """(when the last byte of a request had arrived, when its answer began, its first line) for each changing request."""
    open_requests, found = {}, []
    for call in sorted(calls, key=lambda one: one.ended):
        if not call.file.startswith("socket:") or call.result <= 0:
            continue
        if call.name in ("recvfrom", "recvmsg", "read"):
            first = re.search(r'"((?:POST|DELETE|GET) /v1/peers\S*)', call.text)
            if first or call.file in open_requests:
                open_requests[call.file] = (call.ended, first[1] if first else open_requests[call.file][1])
        elif re.search(r'"HTTP/1\.1 20[04] ', call.text) and call.file in open_requests:
            arrived, request = open_requests.pop(call.file)
            if not request.startswith("GET"):
                found.append((arrived, call.began, request))
    return found


def raw_request(method, path, identity, body=None):
    data = b"" if body is None else json.dumps(body).encode()
    return (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {identity.secret.hex()}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    ).encode() + data


def a_life(address, rounds):
    """Each kind of write, one after another on one connection; how many were acknowledged."""
    identity = Identity()
    own = f"/v1/peers/{identity.id}"
    files = [record(f"{identity.id}/{number}") for number in range(3)]
    requests = []
    for _ in range(rounds):
        requests += [
            ("POST", "/v1/peers", {"id": identity.id, "host": "127.0.0.1", "port": 7001, "files": files}),
            ("POST", own + "/heartbeat", {}),
            ("POST", own + "/files", {"add": [record(f"{identity.id}/more")], "remove": files[:1]}),
            ("DELETE", own, None),
        ]
    with socket.create_connection(address, 60) as connection:
        for method, path, body in requests:
            connection.sendall(raw_request(method, path, identity, body))
            answer = b""
            while b"\r\n\r\n" not in answer:
                received = connection.recv(65536)
                assert received, answer
                answer += received
            assert re.match(rb"HTTP/1\.1 20[04] ", answer), answer
            length = re.search(rb"(?i)content-length: (\d+)", answer)
            missing = int(length[1]) - len(answer.split(b"\r\n\r\n", 1)[1]) if length else 0
            while missing > 0:
                missing -= len(connection.recv(missing))
    return len(requests)


def traced(start_tracker, tmp_path, clients, rounds):
    """Runs so many clients side by side; the writes in the trace, the log's calls, and the log's name."""
    need_strace(tmp_path)
    path = tmp_path / "trace"
    tracker = start_tracker(wrapper=strace_words(path))
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        lives = [pool.submit(a_life, (tracker.host, tracker.port), rounds) for _ in range(clients)]
        count = sum(life.result(100) for life in lives)
    pid = tracker.process.pid
    tracker.stop()
    wait_until(lambda: re.search(rf"^{pid} +\+\+\+ exited", path.read_text(errors="replace"), re.MULTILINE))
    calls = calls_of(path.read_text(errors="replace"))
    writes = writes_of(calls)
    assert len(writes) == count
    log = str(tmp_path / "tracker.db-wal")
    return writes, [call for call in calls if call.file == log]


@pytest.mark.parametrize(("clients", "rounds"), [(1, 5), (16, 5)])
def test_the_log_is_synced_between_each_writes_arrival_and_its_answer(start_tracker, tmp_path, clients, rounds):
    writes, log = traced(start_tracker, tmp_path, clients, rounds)
    syncs = [call for call in log if call.name in ("fdatasync", "fsync") and call.result == 0]
    for arrived, answered, request in writes:
        written = [call.ended for call in log if call.name == "pwrite64" and arrived < call.began < answered]
        assert written, f"{request} was answered before anything was written to the log"
        assert any(min(written) < sync.began and sync.ended < answered for sync in syncs), (
            f"{request} was answered before the log was on the disk"
        )
    if clients > 1:  # several writes share one
        assert len(syncs) < len(writes)


# ---- kill -9 ----


def check_integrity(path):
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.timeout(900 if programs.LONG else 120)
def test_what_was_acknowledged_survives_kill_9(start_tracker, tmp_path):
    ledger = Ledger()
    tracker = start_tracker("--expire", "600")
    for number in range(KILLS):
        ledger.kill_under_load(tracker)
        if number % 5 == 0:  # and once more while it puts its database in order
            start_tracker("--expire", "600").kill()
        tracker = start_tracker("--expire", "600")
        ledger.check(tracker.client())
        check_integrity(tmp_path / "tracker.db")
    tracker.stop()
    check_integrity(tmp_path / "tracker.db")
