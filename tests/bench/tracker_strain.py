"""Rows of `scripts/bench tracker` that show heartbeats beside something else: idle connections, the end of a large peer."""

import contextlib
import resource
import socket
import time

import catalogue
import machine
from fill import answer, fill
from process import Failed, wait_until
from tracker_writes import NEW_FILES, NEW_PEERS, heartbeat_lines

IDLE_HOSTS = 5
SPARE_FILES = 1000  # open ones, beside the connections
LARGE_FILES = 100_000
LARGE_ITEMS = 1000
EXPIRE_S = 6
SWEEP_S = 120
POLL_S = 0.1


def allow_open_files(count):
    """For us, and for the programs that we start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= count:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(hard, count)))
    except (OSError, ValueError):
        raise Failed(f"{count} files have to be open, and {hard} may be: ulimit -n {count}, or root") from None


@contextlib.contextmanager
def idle_connections(server, count):
    """Each has asked once, and stays.  They come from several hosts, as one alone is not given so many."""
    allow_open_files(count + SPARE_FILES)
    with contextlib.ExitStack() as stack:
        sockets = []
        for number in range(count):
            one = socket.create_connection((server.host, server.port), 20, (f"127.0.0.{2 + number % IDLE_HOSTS}", 0))
            sockets.append(stack.enter_context(one))
            ask_health(one)
        yield sockets


def ask_health(one):
    one.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    with one.makefile("rb") as file:
        status, _ = answer(file)
    if status != 200:
        raise Failed(f"the tracker answered {status} on an idle connection")


class Idle:
    """Heartbeats without and with connections that ask nothing."""

    def prepare(self, course):
        course.write("heartbeat", heartbeat_lines(course))

    def __call__(self, course):
        database = course.small_copy()
        count = course.options.idle
        with course.enxame(database.parent, database) as server:
            alone = course.load(server, "heartbeat")
            with idle_connections(server, count) as sockets:
                found = course.load(server, "heartbeat")
                for one in sockets[:: max(1, count // 100)]:
                    ask_health(one)
        return {"idle": {**found, "of_alone": found["rate"] / alone["rate"], "rss_alone_bytes": alone["rss_bytes"]}}


class Expiry:
    """Heartbeats from the moment before a peer with many files lapses until the last of these is gone."""

    def __init__(self):
        self.database = None

    def prepare(self, course):
        course.write("heartbeat", heartbeat_lines(course))
        self.database = course.disk.fresh("expiry") / "tracker.db"
        small = course.small_copy()
        with course.enxame(small.parent, small) as server:
            fill(server.address, self.registrations(course))
        small.rename(self.database)

    @staticmethod
    def registrations(course):
        peer = NEW_PEERS
        yield "/v1/peers", catalogue.secret(peer), catalogue.registration(peer, [])
        for first in range(0, LARGE_FILES, LARGE_ITEMS):
            some = course.new_items(NEW_FILES + first, LARGE_ITEMS)
            yield f"/v1/peers/{catalogue.peer_id(peer)}/files", catalogue.secret(peer), f'{{"add":[{",".join(some)}]}}'

    def __call__(self, course):
        database = course.copy(self.database)
        left = course.options.peers  # files, as many as peers
        with course.enxame(database.parent, database, ["--heartbeat", "2", "--expire", EXPIRE_S]) as server:
            course.load(server, "heartbeat", seconds=EXPIRE_S - 2)
            before, shares = server.cpu_s(), machine.Shares()
            one = course.begin(server, "heartbeat", seconds=SWEEP_S)
            try:
                wait_until(lambda: server.metric("enxame_peers_expired_total"), SWEEP_S, "the end of the large peer")
                lapsed = time.monotonic()
                wait_until(lambda: self.gone(server, left), SWEEP_S, "the end of its files")
                swept = time.monotonic()
                one.enough()
                figures = one.figures()
            finally:
                one.process.stop()
            cpu_s, stolen = server.cpu_s() - before, shares.stolen()
            figures.update(cpu_s=cpu_s, stolen=stolen, sweep_s=swept - lapsed, **server.memory())
        return {"expiry": figures}

    @staticmethod
    def gone(server, left):
        time.sleep(POLL_S)
        return server.metric("enxame_contents") == left
