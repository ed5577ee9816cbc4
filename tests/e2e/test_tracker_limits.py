"""How many connections a tracker has, for how long, and how it lets go of them at its end."""

import contextlib
import json
import resource
import signal
import socket

import programs
import pytest
from client import Content, Identity
from programs import wait_until

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
CLOSED = (b"", None)


def connect(tracker, source="127.0.0.1"):
    return socket.create_connection((tracker.host, tracker.port), timeout=60, source_address=(source, 0))


def receive(connection):
    """The answer as it came; b"" or None where the connection was closed, orderly or by a reset."""
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return None


def is_served(connection):
    try:
        connection.sendall(HEALTH)
    except (BrokenPipeError, ConnectionResetError):
        return False
    answer = receive(connection)
    assert answer in CLOSED or answer.startswith(b"HTTP/1.1 200 "), answer
    return answer not in CLOSED


@contextlib.contextmanager
def connections(tracker, count, sources=("127.0.0.1",)):
    """As many connections, each of which was served once."""
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(connect(tracker, sources[n % len(sources)])) for n in range(count)]
        for one in opened:
            one.sendall(HEALTH)
        for one in opened:
            assert receive(one).startswith(b"HTTP/1.1 200 ")
        yield opened


def metric(connection, name):
    connection.sendall(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
    text = b""
    while piece := receive(connection):
        text += piece
    lines = dict(line.rsplit(" ", 1) for line in text.decode().split("\r\n\r\n")[1].splitlines() if line[0] != "#")
    return int(lines[name])


# ---- too many ----


@pytest.mark.sanitized
def test_connections_beyond_the_limit_are_closed_at_once_and_others_served(start_tracker):
    tracker = start_tracker("--max-connections", "10")
    with connections(tracker, 10) as held:
        for _ in range(50):
            with connect(tracker) as late:
                assert receive(late) in CLOSED
        assert all(is_served(one) for one in held)
        assert metric(held[0], 'enxame_http_connections_refused_total{limit="all"}') == 50
        wait_until(lambda: connect_and_ask(tracker))
    assert tracker.err().count("too many connections") == 1


def connect_and_ask(tracker, source="127.0.0.1"):
    with connect(tracker, source) as one:
        return is_served(one)


def test_one_address_does_not_take_all_connections(start_tracker):
    tracker = start_tracker("--max-connections-per-address", "5")
    with connections(tracker, 5, ["127.0.0.2"]) as held:
        assert not connect_and_ask(tracker, "127.0.0.2")
        assert connect_and_ask(tracker, "127.0.0.3")
        assert all(is_served(one) for one in held)
        with connect(tracker, "127.0.0.4") as one:
            assert metric(one, 'enxame_http_connections_refused_total{limit="address"}') == 1
        held[0].close()
        wait_until(lambda: connect_and_ask(tracker, "127.0.0.2"))


def test_where_descriptors_are_short_nobody_waits(start_tracker):
    tracker = start_tracker(wrapper=["prlimit", "--nofile=64"])
    api = tracker.client()
    api.register(7001, [Content(b"x", "x").record()])
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(connect(tracker)) for _ in range(200)]
        served = [one for one in opened if is_served(one)]  # all others were closed
        assert 5 <= len(served) < 64
        assert api.heartbeat()["files"] == 1
        assert all(is_served(one) for one in served)
    wait_until(lambda: connect_and_ask(tracker))
    tracker.stop()
    lines = [line.split(" ", 1)[1] for line in tracker.err().splitlines()]
    assert len(lines) == 3 and "too few descriptors" in lines[0] and "too many connections" in lines[1], lines


@pytest.fixture
def descriptors():
    """As many as the system lets us have."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < 12300:
        pytest.skip(f"only {before[1]} descriptors are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("count", [1000, pytest.param(10000, marks=pytest.mark.long)])
def test_idle_connections_cost_little_and_disturb_nobody(start_tracker, descriptors, count):
    tracker = start_tracker("--idle-timeout", "600", "--expire", "600")
    api = tracker.client()
    with connections(tracker, count, [f"127.0.1.{n}" for n in range(1, 9)]) as held:
        api.register(7001, [Content(b"x", "x").record()])
        for _ in range(100):
            assert api.heartbeat()["files"] == 1
        resident = tracker.memory_bytes() / 2**20
        print(f"{count} idle connections: {resident:.1f} MiB resident")
        assert programs.SANITIZED or resident < 20 + 0.018 * count
        assert all(is_served(one) for one in held[:: count // 100])


# ---- too slow ----


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--idle-timeout", b""),
        ("--header-timeout", b"GET /healthz HTTP/1.1\r\nHost: loc"),
        ("--body-timeout", b"POST /v1/peers HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                           b"Content-Length: 100\r\n\r\n{"),
    ],
    ids=["idle", "header", "body"],
)  # fmt: skip
def test_who_is_slow_is_cut_off_when_the_option_says(start_tracker, option, text):
    others = {"--idle-timeout", "--header-timeout", "--body-timeout"} - {option}
    tracker = start_tracker(option, "1", *(word for other in others for word in (other, "3600")))
    with connect(tracker) as one:
        one.sendall(text)
        assert receive(one) in CLOSED


# ---- the end ----


@contextlib.contextmanager
def under_way(tracker):
    """A registration that is under way at the tracker, but for its body: whose it is, its connection, and the body."""
    identity = Identity()
    body = json.dumps({"id": identity.id, "port": 7001, "files": [Content(b"x", "x").record()]}).encode()
    head = f"POST /v1/peers HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
    head += f"Content-Length: {len(body)}\r\nAuthorization: {identity.bearer['Authorization']}\r\n\r\n"
    with connect(tracker) as one:
        one.sendall(head.encode())
        assert receive(one).startswith(b"HTTP/1.1 100 ")
        yield identity, one, body


def refuses(tracker):
    try:
        connect(tracker).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it was closed in that moment
        pass
    return False


@pytest.mark.sanitized
def test_sigterm_lets_requests_under_way_end(start_tracker):
    tracker = start_tracker("--expire", "600")
    with under_way(tracker) as (identity, one, body), connections(tracker, 20) as idle:
        tracker.send(signal.SIGTERM)
        wait_until(lambda: refuses(tracker))
        assert is_served(idle[0]) and receive(idle[0]) in CLOSED
        one.sendall(body)
        answer = receive(one)
        assert answer.startswith(b"HTTP/1.1 200 ") and b"\r\nConnection: close\r\n" in answer
        assert tracker.wait() == 0
    assert start_tracker("--expire", "600").client(identity).heartbeat()["files"] == 1


def test_sigterm_waits_for_nobody_for_ever(start_tracker):
    tracker = start_tracker()
    with under_way(tracker) as (_, one, _):
        tracker.stop()
        assert receive(one) in CLOSED


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once_and_nothing_acknowledged_is_lost(start_tracker, number):
    identity = Identity()

    def ends_at_once():
        tracker = start_tracker("--expire", "600")
        tracker.expected_statuses.add(-number)
        tracker.client(identity).register(7001, [Content(b"x", "x").record()])
        with under_way(tracker):
            tracker.send(signal.SIGTERM)
            wait_until(lambda: "stopping" in tracker.err() and refuses(tracker))
            tracker.send(number)
            return tracker.wait() == -number  # 0, had it waited for the client

    assert any(ends_at_once() for _ in range(5))  # where all was stopped for seconds meanwhile, it had ended before
    assert start_tracker("--expire", "600").client(identity).heartbeat()["files"] == 1
