"""Rows of `scripts/bench tracker` that write: heartbeats and registrations, and opentracker's announces beside them."""

import hashlib
import urllib.parse

import catalogue
import load
from process import wait_until
from tracker_course import CONNECTIONS, EACH, expect
from tracker_kinds import TORRENTS, Opentracker

# Of what is sent only once so much is prepared, for each second.
KNOWN_S, NEW_S = 30_000, 10_000
SETTLE_S = 20
# Peers and files that no database has yet.
NEW_PEERS, NEW_FILES = 10_000_000, 100_000_000


class Announces:
    """opentracker.  Each peer has one torrent; answers name no other peers, which is what costs it least."""

    def prepare(self, course):
        course.write("announces", map(self.line, range(course.options.peers)))

    @staticmethod
    def line(peer):
        torrent = urllib.parse.quote_from_bytes(hashlib.sha1(b"%d" % (peer % TORRENTS)).digest())
        port = catalogue.FIRST_PORT + peer % catalogue.PORTS
        return load.line("GET", f"/announce?info_hash={torrent}&peer_id=-EX0000-{peer:012}&port={port}"
                         "&uploaded=0&downloaded=0&left=0&compact=1&numwant=0")  # fmt: skip

    def __call__(self, course):
        with Opentracker(course.memory.fresh("opentracker")) as server:
            figures = course.load(server, "announces")
            expect("peers in opentracker", server.counted("peers"), min(course.options.peers, figures["requests"]),
                   course.options.peers)  # fmt: skip
        return {"opentracker": figures}


def heartbeat_lines(course):
    for peer in range(course.options.peers):
        yield load.line("POST", f"/v1/peers/{catalogue.peer_id(peer)}/heartbeat", catalogue.secret(peer), "{}")


def register_line(peer, items):
    return load.line("POST", "/v1/peers", catalogue.secret(peer), catalogue.registration(peer, items))


def again_lines(course):
    for peer in range(course.options.peers):
        yield register_line(peer, course.held(peer))


def known_lines(course):
    for number in range(KNOWN_S * course.options.seconds):
        yield register_line(NEW_PEERS + number, course.held(number))


def new_lines(course):
    for number in range(NEW_S * course.options.seconds):
        yield register_line(NEW_PEERS + number, course.new_items(NEW_FILES + number * EACH, EACH))


def settled(server):
    return server.metric("enxame_holdings") == EACH * server.metric("enxame_peers")


class Writes:
    """Each run has the small database anew; `store`: one of tracker_stores."""

    LINES = {"heartbeat": heartbeat_lines, "again": again_lines, "known": known_lines, "new": new_lines}
    ONCE = ("known", "new")

    def __init__(self, row, store):
        self.row = row
        self.store = store

    def prepare(self, course):
        if not course.written(self.row):
            course.write(self.row, self.LINES[self.row](course))

    def __call__(self, course):
        once = self.row in self.ONCE
        with self.store.serve(course) as server:
            before = server.metric("enxame_peers")
            figures = course.load(server, self.row, once=once)
            new = figures["requests"] if once else 0
            wait_until(lambda: settled(server), SETTLE_S, f"{EACH} files of each peer")
            # wrk ends without waiting for the last answers.
            expect("peers", server.metric("enxame_peers"), before + new, before + new + (CONNECTIONS if once else 0))
        return {self.row + self.store.name: figures}
