"""Rows of `scripts/bench tracker` that ask a large database: who holds a file, which files have a word in their name."""

import contextlib
import json
import os
import random
import sqlite3
import time
import urllib.parse

import catalogue
import load
import report
import web
from fill import fill
from process import Failed
from tracker_course import EACH
from tracker_kinds import HOST

ITEMS = 1000  # in one registration
LOOKUP_RATE = 5000
REACHED = 0.98  # of that rate
READ_MAX = 1 << 20  # from the disk
LINES = 50_000
SEARCH_CONNECTIONS = 4
SEARCH_RATE = 100
SEARCH_LINES = 1000
# Larger ones take a while, and are kept.
KEPT_FILES = 100_000
DRAW = "requests"


def schema(path):
    """Some digits that another schema does not have, from the database file."""
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        statements = database.execute("SELECT sql FROM sqlite_schema ORDER BY name").fetchall()
    return catalogue.digest(repr(statements))[:8]


def bodies(names, peers, files):
    """All registrations of peers that hold each of the files EACH times: (path, secret, body)."""
    items = [catalogue.item(file, names.of(file)) for file in range(files)]
    each = files * EACH // peers
    for peer in range(peers):
        some = [items[file] for file in catalogue.held_in_a_row(peer, each, files)]
        yield "/v1/peers", catalogue.secret(peer), catalogue.registration(peer, some[:ITEMS])
        for first in range(ITEMS, each, ITEMS):
            path = f"/v1/peers/{catalogue.peer_id(peer)}/files"
            yield path, catalogue.secret(peer), f'{{"add":[{",".join(some[first : first + ITEMS])}]}}'


def fill_through(course, database, peers, files):
    """The database, filled through a tracker."""
    began = time.monotonic()
    with course.enxame(database.parent, database) as tracker:
        fill(tracker.address, bodies(course.names, peers, files))
        found = tracker.metric("enxame_contents"), tracker.metric("enxame_holdings")
    if found != (files, files * EACH):
        raise Failed(f"the large database has {found[0]} files and {found[1]} holdings")
    course.say(f"  made a database of {files} files and {files * EACH} holdings in {time.monotonic() - began:.0f} s")


def make(course, peers, files):
    """The path of a database; a large one that an earlier run has made is taken as it is."""
    database = course.disk.fresh("large") / "tracker.db"
    with course.enxame(database.parent, database):
        pass
    if files < KEPT_FILES:
        fill_through(course, database, peers, files)
        return database
    kept = course.kept / f"{files}-files-{peers}-peers-{schema(database)}.db"
    if kept.exists():
        course.say(f"  {kept} is the large database, made by an earlier run")
        return kept
    fill_through(course, database, peers, files)
    kept.parent.mkdir(exist_ok=True)
    os.replace(database, kept)
    return kept


# ---- what is asked ----


def lookup_lines(_, files):
    draw = random.Random(DRAW)
    for _ in range(LINES):
        yield load.line("GET", f"/v1/files/{catalogue.root(draw.randrange(files))}")


def rare(names, file):
    return f"_{file}."


def word(names, file):
    return names.words(file)[3]


def phrase(names, file):
    """Two words that often stand in names, in an order that does not."""
    words = names.words(file)
    return f"{words[2]}-{words[3]}"


def common(names, file):
    return list(catalogue.EXTENSIONS)[file % len(catalogue.EXTENSIONS)]


def absent(names, file):
    return f"{names.words(file)[0]}xqj{file % 10}"


def glob(names, file):
    words = names.words(file)
    return f"*{words[2]}*.{common(names, file)}"


SEARCHES = {"rare": rare, "word": word, "phrase": phrase, "common": common, "absent": absent, "glob": glob}


def search_lines(kinds, names, files):
    draw = random.Random(DRAW)
    for number in range(SEARCH_LINES):
        asked = SEARCHES[kinds[number % len(kinds)]](names, draw.randrange(files))
        yield load.line("GET", f"/v1/files?q={urllib.parse.quote(asked)}")


# ---- stations ----


def ask(server, path):
    return json.loads(web.ask(HOST, server.port, path))


def check_lookup(course, server, files):
    for file in (0, files // 2, files - 1):
        found = ask(server, f"/v1/files/{catalogue.root(file)}")
        if len(found["holders"]) != EACH or found["names"] != [course.names.of(file)]:
            raise Failed(f"file {file} has the wrong holders or names: {found}")


def check_search(course, server, files):
    for file in (1, files // 3, files - 2):
        for kind, made in SEARCHES.items():
            asked = made(course.names, file)
            found = [one["name"] for one in ask(server, f"/v1/files?q={urllib.parse.quote(asked)}")["files"]]
            least = {"rare": 1, "absent": 0}.get(kind, 1 if files > 10_000 else 0)
            if len(found) < least or (kind == "rare" and found != [course.names.of(file)]) or (kind == "absent" and found):
                raise Failed(f"a search for {asked!r} found {found}")


class Reads:
    """The station: lookups, searches of each kind, then the memory that this took."""

    def __init__(self, rows, files, peers, kinds=True):
        """`kinds`: each kind of search alone, too."""
        self.rows = rows
        self.searches = ["search", "search-mixed", *(f"search-{kind}" for kind in SEARCHES if kinds)]
        self.files = files
        self.peers = peers
        self.database = None

    def prepare(self, course):
        self.database = make(course, self.peers, self.files)
        course.write("lookup", lookup_lines(course.names, self.files))
        for name in self.searches:
            kind = name.removeprefix("search-")
            course.write(name, search_lines([kind] if kind in SEARCHES else list(SEARCHES), course.names, self.files))

    @staticmethod
    def load(course, server, name, rate=0, **more):
        """Where there are fewer requests a second than `rate`, or answers had to wait for the disk, that is told."""
        figures = course.load(server, name, rate=rate, **more)
        if figures["rate"] < REACHED * rate:
            course.say(f"  the tracker answered {figures['rate']:.0f} a second only, of {rate}")
        if figures["read_bytes"] > READ_MAX:
            size = report.size_text(figures["read_bytes"])
            course.say(f"  {name}: {size} came from the disk meanwhile, as the database was not all in memory")
        return figures

    def __call__(self, course):
        found = {}
        with course.enxame(course.disk.fresh("run"), self.database) as server:
            if "lookup" in self.rows:
                check_lookup(course, server, self.files)
                course.load(server, "lookup", seconds=1)  # into the caches
                found["lookup"] = self.load(course, server, "lookup", LOOKUP_RATE)
            if "search" in self.rows:
                check_search(course, server, self.files)
                found["search"] = self.load(course, server, "search", connections=SEARCH_CONNECTIONS)
                for name in self.searches[1:]:
                    found[name] = self.load(course, server, name, SEARCH_RATE, connections=SEARCH_CONNECTIONS)
            found["memory"] = {**server.memory(), "database_bytes": self.database.stat().st_size}
        return found
