"""Peers and trackers that find each other on the LAN, without any configuration."""

import contextlib
import hashlib
import hmac
import http.server
import json
import pathlib
import secrets
import socket
import sys
import threading
import time

import pytest

import client
import lan
import programs
from programs import random_file, sha256_file, wait_until

sys.path.insert(0, str(programs.ROOT / "tests/bench"))

import network as lab  # noqa: E402

DEFAULT_TRACKER = ("127.0.0.1", 5000)


@pytest.fixture
def network():
    """A name that no other test uses."""
    return f"test {secrets.token_hex(8)}"


@pytest.fixture
def start(start_peer, network):
    """A peer that knows nobody; more as for start_peer."""

    def start_one(*args, network=network, tracker=(), **options):
        tracker_args = [] if tracker else ["--no-tracker"]
        return start_peer(
            tracker=tracker, discover=True, args=["--network", network, *tracker_args, *args], **options
        )  # fmt: skip

    return start_one


@contextlib.contextmanager
def at(host):
    """Calls come from this host of the lab; None: from this one."""
    with lab.inside(host.namespace) if host else contextlib.nullcontext():
        yield


def known(peer, host=None):
    """id: status of all whom a peer knows."""
    with at(host), contextlib.closing(peer.client()) as api:
        return {row["id"]: row["status"] for row in api.pages("/v1/peers", "peers") if "id" in row}


def id_of(peer, host=None):
    with at(host), contextlib.closing(peer.client()) as api:
        return api.status()["id"]


def wait_for(peer, other, status="ONLINE", host=None, other_host=None):
    own = other if isinstance(other, str) else id_of(other, other_host)
    wait_until(lambda: known(peer, host).get(own) == status, 60, f"{peer.name} knows {own[:8]} as {status}")


# ---- on this host ----


@pytest.mark.sanitized
def test_peers_find_each_other_without_any_configuration(start):
    one, other, third = start(), start(host="::1"), start(host="127.0.0.9")
    for peer in (one, other, third):
        for another in {one, other, third} - {peer}:
            wait_for(peer, another)
    other_id = other.id
    other.stop()
    wait_for(one, other_id, "OFFLINE")


def test_one_that_is_killed_is_offline_and_back_when_it_starts_again(start):
    one, other = start(), start()
    other_id = other.id
    wait_for(one, other)
    wait_for(other, one)
    other.kill()
    wait_for(one, other_id, "OFFLINE")
    again = start(dir=other.dir)
    assert again.id == other_id
    wait_for(one, again)


def test_another_network_neither_sees_nor_answers(start, network):
    with lan.Listener() as listener:
        foreign = start(network=network + " other")
        one, other = start(), start()
        wait_for(one, other)
        wait_for(other, one)
        # The foreign one has announced itself again, and so heard of the newcomers before.
        listener.hear(network + " other")
        assert known(foreign) == {}
        assert set(known(one)) == {other.id}


def test_what_is_announced(start, network):
    with lan.Listener() as listener:
        peer = start()
        said, sender = listener.hear(network)
        again, _ = listener.hear(network)
        assert said["role"] == "peer" and said["id"] == peer.id and said["port"] == peer.port
        assert said["network"] == lan.network_hash(network) and said["clock"] >= 0
        assert again | {"clock": 0} == said | {"clock": 0} and again["clock"] >= said["clock"]
        assert sender[0] == "127.0.0.1"
        # Newcomers are answered, but not more often than once a second.
        began = time.monotonic()
        for _ in range(3):
            with lan.Sender() as newcomer:
                newcomer.say(lan.beacon(network, 9))
            while listener.hear(network)[0]["id"] != said["id"]:
                pass
        assert time.monotonic() - began > 1.9
        peer.stop()
        while not (last := listener.hear(network)[0]).get("bye"):
            pass
        assert last["id"] == said["id"]


def test_no_discover_is_silence(start, start_peer, network):
    with lan.Listener() as listener:
        silent = start_peer(tracker=[], args=["--no-tracker", "--network", network])
        loud = start()
        loud_id = loud.id
        for _ in range(2):
            assert listener.hear(network)[0]["id"] == loud_id
        assert known(silent) == {} and known(loud) == {}


def test_a_packets_clock_is_not_received(start, network):
    peer = start()
    with lan.Sender() as forger, lan.Listener() as listener:
        before = peer.client().status()["clock"]
        forger.say(lan.beacon(network, 9, clock=2**52))
        while listener.hear(network)[0]["id"] != peer.id:
            pass
        assert peer.client().status()["clock"] < before + 2**20


# ---- who floods ----


class Counter:
    """Counts the connections to a port of ours, and closes them."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.count = 0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        with contextlib.suppress(OSError):
            while True:
                self.socket.accept()[0].close()
                self.count += 1

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join()


class Flood:
    """Garbage, packets that are too large, and forged ones, about 10,000 a second, for as long as it is open."""

    def __init__(self, network, port):
        real = lan.beacon(network, port)
        self.packets = [secrets.token_bytes(300), b"x" * 1201, real.ljust(60000), b"", b"{" * 1200, real[:-1]]
        self.packets += [lan.beacon(network + " other", port), real + b"}", real.replace(b'"peer"', b'"king"')]
        self.packets += [lan.beacon(network, port, host="192.0.2.1"), lan.beacon(network, port, x="y" * 600)]
        self.packets += [lan.beacon(network, port) for _ in range(2000)]
        self.sent = 0
        self.stop = False
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        with lan.Sender() as sender:
            began = time.monotonic()
            while not self.stop:
                for _ in range(100):
                    with contextlib.suppress(OSError):
                        sender.say(self.packets[self.sent % len(self.packets)])
                    self.sent += 1
                time.sleep(max(0, began + self.sent / 10000 - time.monotonic()))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop = True
        self.thread.join()


@pytest.mark.sanitized
def test_a_flood_of_garbage_does_no_harm_and_discovery_goes_on(start, network):
    one, other = start(), start()
    wait_for(one, other)
    wait_for(other, one)
    counter = Counter()
    before = one.memory_bytes()
    with Flood(network, counter.port) as flood:
        wait_until(lambda: flood.sent >= 20000, 60)
        newcomer = start()
        wait_for(one, newcomer)
        wait_for(newcomer, other)
        sent = flood.sent
    assert known(one)[other.id] == "ONLINE"
    # One sender has one program: forged ones cost a greeting now and then, not one each.
    assert len(known(one)) < 10 and counter.count < 60, sent
    counter.close()
    if not programs.SANITIZED:
        assert one.memory_bytes() < before + (4 << 20)


# ---- trackers ----


def tracker_is_there():
    with contextlib.suppress(OSError), socket.create_connection(DEFAULT_TRACKER, 1):
        return True
    return False


def run_until_found(run_peer, commands, **options):
    """A slow machine may take longer to find a tracker than a command waits for it."""

    def run():
        result = run_peer(commands, tracker=[], discover=True, **options)
        return result if result.status == 0 else None

    return wait_until(run, 60)


@pytest.fixture
def no_tracker():
    if tracker_is_there():
        pytest.skip(f"something listens on {client.host_port(*DEFAULT_TRACKER)}, where a peer looks first")


def test_a_tracker_is_found_and_sees_an_identity_of_its_own(
    no_tracker, start_tracker, start_peer, run_peer, network, tmp_path
):
    words = ["--network", network]
    tracker = start_tracker(*words, discover=True)
    path = random_file(tmp_path / "found.bin", 300_000)
    seeder = start_peer(tracker=[], args=words, files=[path], discover=True)
    wait_until(lambda: tracker.client().files())
    result = run_until_found(run_peer, ["search found", "download found.bin"], args=words)
    assert sha256_file(result.dir / "found.bin") == sha256_file(path)
    (row,) = wait_until(lambda: tracker.client().peers())
    secret = bytes.fromhex((seeder.dir / ".enxame/secret").read_text().strip())
    tracker_id = bytes.fromhex(tracker.client().get_json("/healthz")["id"])
    shown = hmac.new(secret, tracker_id, hashlib.sha256).digest()
    assert row["id"] == hashlib.sha256(shown).hexdigest() != seeder.id
    seeder.stop()
    assert tracker.client().peers() == []


def test_a_tracker_that_starts_later_is_found_and_one_that_is_named_is_preferred(
    no_tracker, start_tracker, start_peer, network, tmp_path
):
    words = ["--network", network]
    peer = start_peer(tracker=[], args=words, discover=True)
    named = start_tracker(db=tmp_path / "named.db")
    faithful = start_peer(tracker=named, args=words, discover=True)
    found = start_tracker(*words, "--heartbeat", "1", discover=True)
    wait_until(lambda: len(found.client().peers()) == 1, 60)
    assert found.client().peers()[0]["port"] == peer.port
    assert named.client().peer_ids() == {faithful.id}
    # It ends, and another one takes its place.
    found.stop()
    other = start_tracker(*words, discover=True, db=tmp_path / "other.db")
    wait_until(lambda: len(other.client().peers()) == 1, 60)


def test_who_forges_a_tracker_gets_one_small_question(no_tracker, start_peer, network):
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            requests.append(self.requestline)
            body = json.dumps({"status": "ok", "id": secrets.token_hex(32)}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            requests.append(self.requestline)
            self.send_error(404)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        with lan.Sender() as forger:
            packet = lan.beacon(network, server.server_port, role="tracker")
            peer = start_peer(tracker=[], args=["--network", network, "-v"], discover=True)

            def is_asked():
                forger.say(packet)
                return requests

            wait_until(is_asked)
            for _ in range(40):
                forger.say(packet)
                time.sleep(0.05)
        server.shutdown()
        thread.join()
    # Asked again half a minute later, where this took so long.
    assert set(requests) == {"GET /healthz HTTP/1.1"} and len(requests) <= 2
    assert "announced itself" in peer.err()


def test_networks_of_trackers_are_checked_and_no_discover_is_silence(start_tracker, network, tmp_path):
    with lan.Listener() as listener:
        start_tracker("--network", network, db=tmp_path / "silent.db")
        loud = start_tracker("--network", network, discover=True)
        for _ in range(2):
            said, _ = listener.hear(network)
            assert said["role"] == "tracker" and said["port"] == loud.port
            assert said["id"] == loud.client().get_json("/healthz")["id"]


# ---- hosts on a switch ----


@pytest.fixture(params=[False, True], ids=["ipv4", "ipv6"])
def switch(request):
    with lab.Network(ipv6=request.param) as net:
        yield net


def on(host):
    """A wrapper: the program runs on this host of the lab."""
    return ["nsenter", f"--net=/proc/{pathlib.Path('/proc/self').readlink()}/fd/{host.namespace}", "--"]


@pytest.mark.needs_root
def test_hosts_on_a_switch_find_each_other_the_tracker_and_the_files(
    switch, launcher, start_tracker, start_peer, run_peer, tmp_path
):
    hosts = [switch.add(f"host{number}") for number in range(3)]
    late = switch.add_unplugged("late")
    wildcard = "::" if switch.ipv6 else "0.0.0.0"
    tracker = start_tracker(discover=True, listen="[::]:5000", wrapper=on(hosts[0]))
    path = random_file(tmp_path / "lan.bin", 2_000_000)
    # Two that serve on one address each, one on all, and one whose network comes later.
    places = [hosts[0].address, wildcard, hosts[2].address]
    peers = [
        start_peer(tracker=[], discover=True, host=place, wrapper=on(host), files=[path] if host is hosts[0] else [])
        for host, place in zip(hosts, places, strict=True)
    ]  # fmt: skip
    began = time.monotonic()
    peers.append(start_peer(tracker=[], discover=True, host=wildcard, wrapper=on(late)))
    hosts.append(late)
    called = [*(host.address for host in hosts[:3]), "::1" if switch.ipv6 else "127.0.0.1"]
    for peer, address in zip(peers, called, strict=True):
        peer.url = "http://" + client.host_port(address, peer.port)
    ids = [id_of(peer, host) for peer, host in zip(peers[:3], hosts[:3], strict=True)]
    for number in range(3):
        for own in set(ids) - {ids[number]}:
            wait_for(peers[number], own, host=hosts[number])
    print(f"known to each other after {time.monotonic() - began:.2f} s")
    # The one on the tracker's own host uses it as the default one.
    with at(hosts[2]):
        api = client.Tracker(client.host_port(hosts[0].address, tracker.port))
        wait_until(lambda: len(api.peers()) == 3, 30)

    # What lives where a tracker would be by default is none.
    words = [*on(late), sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "5000"]
    web = programs.Program("web", words, tmp_path, "Serving HTTP")
    launcher.started.append(web)
    switch.plug(late)
    wait_for(peers[3], ids[1], host=late)
    ids.append(id_of(peers[3], late))
    wait_for(peers[1], ids[3], host=hosts[1])
    result = run_until_found(run_peer, ["search lan", "download lan.bin"], host=wildcard, wrapper=on(late))
    assert sha256_file(result.dir / "lan.bin") == sha256_file(path)

    with at(hosts[2]):
        wait_until(lambda: len(api.peers()) == 4, 60)
    web.kill()

    peers[2].kill()
    wait_for(peers[1], ids[2], "OFFLINE", host=hosts[1])
    peers[0].stop()
    wait_for(peers[3], ids[0], "OFFLINE", host=late)
