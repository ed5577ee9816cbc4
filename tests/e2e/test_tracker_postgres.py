"""The tracker on PostgreSQL: a database that stops, hangs, dies or comes back elsewhere, and several trackers on one."""

import concurrent.futures
import hashlib
import random
import re
import signal
import subprocess
import threading
import time

import postgres
import programs
import pytest
import requests
from client import Content, Identity, expect, expect_problem
from ledger import Ledger, record
from programs import random_file, wait_until
from test_peer_tracker import kept_port

GAP_S = 10 if programs.LONG else 2
KILLS = 100 if programs.LONG else 3
# How long a request may take whatever the database does: the tracker's own time limits, on a busy machine.
ANSWER_S = 60
SECRET = "pass:w/rd?5e@cret"


@pytest.fixture
def durable(clusters):
    """A server that may be killed."""
    return clusters.cluster(durable=True)


def metric(tracker, name):
    text = expect(tracker.client().get("/metrics"), 200).text
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


def has_lost_its_database(tracker):
    """Whether a write is refused as it should be, within bounded time; it is one that leaves nothing."""
    began = time.monotonic()
    answer = tracker.client().try_heartbeat()
    assert time.monotonic() - began < ANSWER_S
    if answer.status_code == 404:
        return False
    expect_problem(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0
    return True


def check_refusals(tracker):
    """What every kind of request gets while there is no database."""
    api = tracker.client()
    body = {"contents": [{"root": "00" * 32, "size": 1}]}
    answers = [
        api.try_register(7001), api.try_heartbeat(), api.try_change(), api.try_unregister(), api.get("/v1/peers"),
        api.get("/v1/files?q=abc"), api.get(f"/v1/files/{'00' * 32}"), api.call("POST", "/v1/holders", body),
    ]  # fmt: skip
    for answer in answers:
        expect_problem(answer, 503)
        assert int(answer.headers["Retry-After"]) > 0
    expect(api.get("/healthz"), 503)


class Loaded:
    """A tracker under a ledger's load."""

    def __init__(self, tracker):
        self.tracker = tracker
        self.ledger = Ledger()
        self.ledger.start(tracker)
        self.wait_for_more()

    def wait_for_more(self, count=100, timeout_s=120):
        goal = self.ledger.acknowledged + count
        wait_until(lambda: self.ledger.acknowledged >= goal, timeout_s, "writes are acknowledged")

    def check(self):
        self.ledger.stop()
        assert self.tracker.alive
        api = self.tracker.client()
        wait_until(lambda: api.get("/v1/peers").status_code == 200)  # writes come back first
        self.ledger.check(api)


# ---- faults of the database ----


@pytest.mark.sanitized
@pytest.mark.parametrize("how", ["fast", "kill"])
def test_a_database_that_is_away_for_a_while_costs_no_acknowledged_write(start_tracker, durable, how):
    tracker = start_tracker("--expire", "600", db=durable.uri(durable.database()))
    load = Loaded(tracker)
    if how == "kill":
        durable.kill()
    else:
        durable.stop(how)
    wait_until(lambda: has_lost_its_database(tracker))
    check_refusals(tracker)
    ended = time.monotonic() + GAP_S
    while time.monotonic() < ended:
        assert has_lost_its_database(tracker)
        time.sleep(0.1)
    durable.start()
    load.wait_for_more()
    load.check()
    expect(tracker.client().get("/healthz"), 200)
    words = "out of reach, trying again", "is back"
    assert [tracker.err().count(word) for word in words] == [1, 1], tracker.err()


def test_peers_have_a_full_expiry_after_a_gap_in_which_nobody_could_report(start_tracker, durable):
    tracker = start_tracker("--heartbeat", "2", "--expire", "4", db=durable.uri(durable.database()))
    peer = tracker.client()
    peer.register(7001, [Content(b"x", "x").record()])
    durable.stop()
    wait_until(lambda: has_lost_its_database(tracker))
    time.sleep(4)
    durable.start()
    wait_until(lambda: peer.get("/v1/peers").status_code == 200)
    back = time.monotonic()
    rows = peer.peers() + peer.files()
    while time.monotonic() - back < 2:  # half of it, as the time runs from when the tracker was there again
        assert len(rows) == 2
        time.sleep(0.1)
        rows = peer.peers() + peer.files()
    wait_until(lambda: not peer.peers())


def test_nobody_lapses_where_no_tracker_could_write_for_a_while(start_tracker, cluster, database):
    """As after a stop of all trackers, or of the machine, that none of them noticed."""
    peer = start_tracker("--expire", "600", db=cluster.uri(database)).client()
    peer.register(7001, [record("x")])
    cluster.sql(
        "UPDATE enxame.peers SET seen = now() - interval '1 hour';"
        "UPDATE enxame.grace SET since = now() - interval '1 hour', pulse = now() - interval '1 hour'", database,
    )  # fmt: skip
    assert len(peer.peers()) == 1 == len(peer.files())
    wait_until(lambda: cluster.sql("SELECT pulse > now() - interval '1 minute' FROM enxame.grace", database) == "t")
    assert len(peer.peers()) == 1 == len(peer.files())
    assert peer.heartbeat()["files"] == 1


# When the tracker is there again it would find the peers silent for an hour, and its own last sign of life young.
SHORT_GAP = f"""
BEGIN;
UPDATE enxame.peers SET seen = now() - interval '1 hour';
UPDATE enxame.grace SET since = now() - interval '1 hour', pulse = now();
SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = '{postgres.USER}';
COMMIT;
"""


def test_peers_have_a_full_expiry_after_the_shortest_gap(start_tracker, cluster, database):
    peer = start_tracker("--expire", "600", db=cluster.uri(database)).client()
    peer.register(7001, [record("x")])
    cluster.sql(SHORT_GAP, database)
    wait_until(lambda: cluster.sql("SELECT since > now() - interval '1 minute' FROM enxame.grace", database) == "t")
    wait_until(lambda: peer.get("/v1/peers").status_code == 200)
    assert len(peer.peers()) == 1 == len(peer.files())


@pytest.mark.sanitized
def test_a_promoted_standby_has_all_that_was_acknowledged(start_tracker, durable):
    database = durable.database()
    standby = durable.standby()
    tracker = start_tracker("--expire", "600", db=postgres.uri([durable, standby], database))
    load = Loaded(tracker)
    durable.kill()
    wait_until(lambda: has_lost_its_database(tracker))
    standby.promote()
    load.wait_for_more()
    load.check()


def test_a_server_that_takes_no_more_writes_is_left_for_one_that_does(start_tracker, durable):
    """Its sessions stay open meanwhile, as where somebody makes it a standby without a restart."""
    database = durable.database()
    standby = durable.standby()
    tracker = start_tracker("--expire", "600", db=postgres.uri([durable, standby], database))
    load = Loaded(tracker)
    durable.sql("ALTER SYSTEM SET default_transaction_read_only = on")
    durable.sql("SELECT pg_reload_conf()")
    wait_until(lambda: has_lost_its_database(tracker))
    standby.promote()
    load.wait_for_more()
    load.check()


@pytest.mark.sanitized
def test_no_request_waits_for_ever_for_a_server_that_hangs(start_tracker, durable):
    tracker = start_tracker("--expire", "600", db=durable.uri(durable.database()))
    load = Loaded(tracker)
    durable.freeze()
    search = tracker.url + "/v1/files?q=abc"
    try:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(has_lost_its_database, tracker) for _ in range(4)]
            asked += [pool.submit(requests.get, search, timeout=ANSWER_S) for _ in range(4)]
            for one in asked:
                answer = one.result()
                assert answer is True or answer.status_code == 503
        wait_until(lambda: tracker.client().get("/healthz").status_code == 503)
    finally:
        durable.thaw()
    load.wait_for_more()
    load.check()


def test_a_write_is_acknowledged_only_where_the_server_waited_for_its_standby(start_tracker, clusters):
    """Also where the server's own settings say that nobody need wait."""
    cluster = clusters.cluster(durable=True, settings={"synchronous_commit": "off"})
    tracker = start_tracker("--expire", "600", db=cluster.uri(cluster.database()))
    staying, leaving = tracker.client(), tracker.client()
    waiting = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    for peer in (staying, leaving):
        peer.register(7001, [record("old")], "127.0.0.1")
    for write in (lambda: staying.try_change([record("new")]), staying.try_heartbeat, leaving.try_unregister):
        cluster.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        cluster.sql("SELECT pg_reload_conf()")
        wait_until(lambda: cluster.sql(f"SELECT count(*) {waiting}") != "0")  # the tracker's own pulse
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asked = pool.submit(write)
            while not asked.done():
                cluster.sql(f"SELECT pg_cancel_backend(pid) {waiting}")
            expect_problem(asked.result(), 503)
        cluster.sql("ALTER SYSTEM RESET synchronous_standby_names")
        cluster.sql("SELECT pg_reload_conf()")
        wait_until(lambda: staying.try_change([record("new")]).status_code == 200)
    assert {row["name"] for row in staying.files()} == {"old", "new"}


def test_a_write_that_was_given_up_does_not_come_after_the_next_one(start_tracker, durable):
    """The process that serves the tracker's writes stops for a while, and goes on when the tracker has another one."""
    database = durable.database()
    tracker = start_tracker("--expire", "600", db=durable.uri(database))
    peers = [tracker.client() for _ in range(4)]
    for peer in peers:
        peer.register(7001, [record("old")], "127.0.0.1")
    sessions = "SELECT pid, state FROM pg_stat_activity WHERE application_name = 'enxame-tracker'"

    def stop_idle():
        """Their numbers, unless one was stopped at its work: the one that writes has locks for a moment twice a second."""
        pids = [int(row.split("|")[0]) for row in durable.sql(sessions).splitlines()]
        durable.signal(pids, signal.SIGSTOP)
        if all(row.endswith("|idle") for row in durable.sql(sessions).splitlines()):
            return pids
        durable.signal(pids, signal.SIGCONT)
        return None

    stopped = wait_until(stop_idle)
    try:
        with concurrent.futures.ThreadPoolExecutor(len(peers)) as pool:
            asked = [pool.submit(peer.try_register, 7001, [record("lost")], "127.0.0.1") for peer in peers]
            for one in asked:
                expect(one.result(), 503)
        for peer in peers:
            wait_until(lambda peer=peer: peer.try_register(7001, [record("new")], "127.0.0.1").status_code == 200)
    finally:
        durable.signal(stopped, signal.SIGCONT)
    serving = "SELECT count(*) FROM pg_stat_activity WHERE pid IN ({})".format(", ".join(map(str, stopped)))
    wait_until(lambda: durable.sql(serving) == "0")
    # They were told to end, and not left to find out: what one has locked would be in the way for as long.
    told = re.findall(r"\[(\d+)\] FATAL: +terminating connection due to administrator command", durable.log())
    assert set(map(int, told)) & set(stopped), durable.log()
    assert [row["name"] for row in peers[0].files()] == ["new"]
    assert {peer["files"] for peer in peers[0].peers()} == {1}


@pytest.mark.timeout(900 if programs.LONG else 120)
def test_what_was_acknowledged_survives_kill_9_of_the_tracker(start_tracker, cluster, database):
    ledger = Ledger()
    serving = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND application_name = 'enxame-tracker'"
    tracker = start_tracker("--expire", "600", db=cluster.uri(database))
    for _ in range(KILLS):
        ledger.kill_under_load(tracker)
        wait_until(lambda: cluster.sql(serving) == "0")  # what it had asked for is done, or is not
        tracker = start_tracker("--expire", "600", db=cluster.uri(database))
        ledger.check(tracker.client())


def test_a_database_that_is_another_one_all_at_once_is_left_alone(start_tracker, cluster, database):
    """As by a restored copy of another site, or a name that leads elsewhere."""
    first = start_tracker("--expire", "600", db=cluster.uri(database))
    peer = first.client()
    peer.register(7001, [record("x")])
    cluster.drop(database)
    cluster.sql(f"CREATE DATABASE {database} OWNER {postgres.USER}")
    second = start_tracker("--expire", "600", db=cluster.uri(database))
    wait_until(lambda: "not the one that it was at the start" in first.err())
    expect_problem(peer.try_register(7001, [record("x")]), 503)
    assert second.client().peers() == []


# ---- several trackers on one database ----


@pytest.fixture
def pair(start_tracker, cluster, database):
    """pair(*args) -> two trackers on one database."""

    def start(*args):
        return [start_tracker(*args, db=cluster.uri(database)) for _ in range(2)]

    return start


@pytest.mark.sanitized
def test_what_is_registered_at_one_tracker_is_found_at_the_other_at_once(pair):
    first, second = pair("--expire", "600")
    here, identity = first.client(), Identity()
    there = second.client(identity)
    here.identity = identity
    for number in range(20):
        item = Content(b"%d" % number, f"{number}.txt")
        here.register(7001, [item.record()], "127.0.0.1")
        assert [row["name"] for row in there.files()] == [item.name]
        assert there.holder_ids(item) == {identity.id} == there.peer_ids()
        assert there.change(add=[record("more")]) == 2
        assert {row["name"] for row in here.files()} == {item.name, "more"}
        there.unregister()
        assert here.files() == [] and here.peers() == []
    assert first.client().get("/healthz").json()["id"] == second.client().get("/healthz").json()["id"]


def test_clocks_of_trackers_on_one_database_outlive_both(pair, start_tracker, cluster, database):
    first, second = pair()
    first.client().get("/v1/peers", headers={"Lamport-Clock": "900000"})
    second.client().get("/v1/peers", headers={"Lamport-Clock": "5000"})
    first.stop()
    second.stop()
    third = start_tracker(db=cluster.uri(database))
    assert int(third.client().get("/v1/peers").headers["Lamport-Clock"]) > 900000


def test_trackers_that_start_at_once_share_a_new_database(cluster, database, tmp_path):
    words = [programs.BIN / "tracker", *programs.QUIET, "--listen", "127.0.0.1:0", "--db", cluster.uri(database)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    running = [subprocess.Popen(words, cwd=tmp_path, env=programs.environment(tmp_path), **pipes) for _ in range(4)]
    try:
        ids = set()
        for one in running:
            line = one.stdout.readline().decode()
            assert line.startswith("tracker listening on"), line + one.stderr.read().decode()
            address = line.split()[3]
            ids.add(requests.get(f"http://{address}/healthz", timeout=30).json()["id"])
        assert len(ids) == 1
    finally:
        for one in running:
            one.terminate()
            one.communicate()
    assert [one.returncode for one in running] == [0] * 4


@pytest.mark.sanitized
def test_two_trackers_neither_block_each_other_nor_lose_a_write(pair, cluster):
    """Peers that share contents come and go at both, so that both add and remove the same rows all the time."""
    trackers, before = pair("--expire", "600"), len(cluster.log())
    contents = [record(f"shared {number}") for number in range(60)]
    over, faults = threading.Event(), []

    def churn(number):
        dice = random.Random(number)
        apis = [tracker.client() for tracker in trackers]
        identity = Identity()
        for api in apis:
            api.identity = identity
        held = set()
        while not over.is_set():
            api = dice.choice(apis)
            some = dice.sample(range(len(contents)), k=dice.randrange(1, 20))
            kind = dice.random()
            if not held or kind < 0.4:
                answer, held = api.try_register(7001, [contents[n] for n in some], "127.0.0.1"), set(some)
            elif kind < 0.8:
                gone = set(dice.sample(sorted(held), k=min(5, len(held) - 1)))
                held = (held - gone) | set(some)
                answer = api.try_change([contents[n] for n in some], [contents[n] for n in sorted(gone - set(some))])
            else:
                answer, held = api.try_unregister(), set()
            if answer.status_code not in (200, 204):
                faults.append(answer.text)
                return None
            if held and answer.json()["files"] != len(held):
                faults.append(f"{answer.text} instead of {len(held)}")
        return held

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        running = [pool.submit(churn, number) for number in range(8)]
        time.sleep(20 if programs.LONG else 3)
        over.set()
        held = [one.result() for one in running]
    assert not faults, faults
    counts = {contents[n]["name"]: sum(n in one for one in held) for n in range(len(contents))}
    expected = {name: count for name, count in counts.items() if count}
    for tracker in trackers:
        assert {row["name"]: row["holders"] for row in tracker.client().files()} == expected
    assert sorted(row["files"] for row in trackers[0].client().peers()) == sorted(len(one) for one in held if one)
    assert "deadlock" not in cluster.log()[before:]
    for tracker in trackers:
        assert metric(tracker, "enxame_store_errors_total") == 0


# Takes two locks in the order in which no tracker does, the second one when a tracker is in the way; and is not who gives in.
DEADLOCK = """
SET deadlock_timeout = '60s';
DO $$ BEGIN
    PERFORM 1 FROM enxame.gate FOR UPDATE;
    WHILE NOT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted) LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
    PERFORM 1 FROM enxame.peers FOR UPDATE;
END $$
"""


def test_a_write_that_the_server_ends_as_a_deadlock_is_repeated(start_tracker, cluster, database):
    peer = start_tracker("--expire", "600", db=cluster.uri(database)).client()
    peer.register(7001, [record("old")])
    before = len(cluster.log())
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        other = pool.submit(cluster.sql, DEADLOCK, database)
        wait_until(lambda: not cluster.sql("SELECT 1 FROM enxame.gate FOR SHARE SKIP LOCKED", database) or other.done())
        assert peer.change(add=[record("new")]) == 2
        other.result()
    assert re.search("deadlock detected|due to lock timeout", cluster.log()[before:])  # which is first on a slow machine
    assert {row["name"] for row in peer.files()} == {"old", "new"}


def lock_of(*peers):
    ids = ", ".join(f"'\\x{peer.identity.id}'" for peer in peers)
    return f"SELECT 1 FROM enxame.peers WHERE id IN ({ids}) FOR UPDATE"


@pytest.mark.parametrize("kind", ["registrations", "changes"])
def test_a_batch_locks_its_peers_in_the_order_of_their_ids(start_tracker, cluster, database, kind):
    """Whatever the order in which they lie in the table: else two trackers would wait for each other."""
    tracker = start_tracker("--expire", "600", db=cluster.uri(database))
    first, last = sorted((tracker.client(), tracker.client()), key=lambda peer: peer.identity.id)
    before = tracker.client()
    for peer in (last, first, before):
        peer.register(7001, [record("old")])

    def write(peer):
        new = [record("new")]
        return peer.try_register(7001, new) if kind == "registrations" else peer.try_change(new)

    blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        with cluster.hold(lock_of(first), database):
            # Both come while another one is waited for, so that they are one batch.
            with cluster.hold(lock_of(before), database):
                asked = [pool.submit(write, before)]
                wait_until(lambda: cluster.sql(blocked) == "1")
                asked += [pool.submit(write, peer) for peer in (last, first)]
                wait_until(lambda: metric(tracker, "enxame_write_queue_depth") >= 2)
            asked[0].result()
            wait_until(lambda: cluster.sql(blocked) == "1")
            assert cluster.sql(lock_of(last) + " SKIP LOCKED", database) == "1"
        for one in asked:
            expect(one.result(), 200)


def test_a_row_that_somebody_holds_keeps_no_other_peer_from_lapsing(start_tracker, cluster, database):
    tracker = start_tracker("--heartbeat", "1", "--expire", "2", db=cluster.uri(database))
    held, other = tracker.client(), tracker.client()
    there = "SELECT encode(id, 'hex') FROM enxame.peers WHERE id IS NOT NULL"
    for peer in (held, other):
        peer.register(7001, [record("old")])
    with cluster.hold(lock_of(held), database):
        wait_until(lambda: cluster.sql(there, database) == held.identity.id)
    wait_until(lambda: not cluster.sql(there, database))


def test_a_silent_peer_lapses_once_for_both_trackers(pair):
    trackers = pair("--heartbeat", "1", "--expire", "3")
    count = 40
    peers = [tracker.client() for tracker in trackers for _ in range(count // 2)]
    for number, peer in enumerate(peers):
        peer.register(7001, [record(f"{peer.identity.id}/{n}") for n in range(30)] + [record(f"shared {number % 7}")])
    alive = trackers[0].client()
    alive.register(7001, [record("kept")])

    def lapsed():
        return sum(metric(tracker, "enxame_peers_expired_total") for tracker in trackers)

    def all_lapsed():
        expect(trackers[int(time.monotonic() * 10) % 2].client(alive.identity).try_heartbeat(), 200)
        return lapsed() >= count

    wait_until(all_lapsed, 60)
    for tracker in trackers:
        api = tracker.client()
        assert [row["name"] for row in api.files()] == ["kept"]
        assert api.peer_ids() == {alive.identity.id}
    time.sleep(1)  # for sweeps that count twice
    assert lapsed() == count


def test_a_peer_moves_over_to_the_other_tracker_when_its_own_dies(pair, start_peer, run_peer, tmp_path):
    first, second = pair("--heartbeat", "1", "--expire", "6")
    peer = start_peer(tracker=[first, second], files=[random_file(tmp_path / "a.bin", 1000)])
    api = second.client()
    wait_until(lambda: [row["name"] for row in api.files()] == ["a.bin"])
    before = metric(second, "enxame_commit_duration_seconds_count")
    first.kill()
    wait_until(lambda: second.address in peer.err())
    # It never has to be missing: the second tracker hears of it before it lapses.
    ended = time.monotonic() + 7
    while time.monotonic() < ended:
        assert api.peer_ids() == {peer.id}
        time.sleep(0.1)
    assert metric(second, "enxame_commit_duration_seconds_count") > before
    assert "a.bin" in run_peer(["search"], tracker=[first, second]).ok().stdout


# ---- searches ----

YOUNG_CATALOGUE = """
ALTER TABLE enxame.contents SET (autovacuum_enabled = off);
ALTER TABLE enxame.names SET (autovacuum_enabled = off);
ALTER TABLE enxame.holdings SET (autovacuum_enabled = off);
INSERT INTO enxame.contents (root, size) SELECT sha256(n::text::bytea), 7 FROM generate_series(1, 20000) n;
INSERT INTO enxame.names (content, digest, name, folded) SELECT key, sha256(root), text, text
    FROM (SELECT key, root, 'series ' || key % 100 || '/episode ' || key || '.mkv' AS text FROM enxame.contents) c;
INSERT INTO enxame.holdings (peer, name, complete) SELECT p.key, n.key, true FROM enxame.peers p, enxame.names n
    ON CONFLICT DO NOTHING;
"""


ROWS_READ = "SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_user_tables WHERE schemaname = 'enxame'"


def test_a_page_costs_few_rows_though_the_server_knows_nothing_of_its_tables_yet(start_tracker, cluster, database):
    tracker = start_tracker("--expire", "600", db=cluster.uri(database))
    tracker.client().register(7001, [record("first")])
    tracker.stop()
    cluster.sql(YOUNG_CATALOGUE, database)
    before = int(cluster.sql(ROWS_READ, database))
    tracker = start_tracker("--expire", "600", db=cluster.uri(database))
    for q in ("s", "*pisode*"):
        assert len(tracker.client().get_json(f"/v1/files?q={q}")["files"]) == 100
    tracker.stop()  # then the server has counted what it read
    read = int(cluster.sql(ROWS_READ, database)) - before
    assert read < 400_000, f"{read} rows were read"


def test_a_lookup_costs_few_rows_once_the_server_knows_its_tables(start_tracker, cluster, database):
    tracker = start_tracker("--expire", "600", db=cluster.uri(database))
    tracker.client().register(7001, [record("first")])
    tracker.stop()
    cluster.sql(YOUNG_CATALOGUE + "ANALYZE enxame.contents, enxame.names, enxame.holdings, enxame.peers;", database)
    before = int(cluster.sql(ROWS_READ, database))
    tracker = start_tracker("--expire", "600", db=cluster.uri(database))
    for number in range(1, 20_000, 1000):
        assert tracker.client().owners(hashlib.sha256(str(number).encode()).hexdigest())["holders"]
    tracker.stop()
    read = int(cluster.sql(ROWS_READ, database)) - before
    assert read < 50_000, f"{read} rows were read"


def test_heartbeats_find_their_rows_straight_by_the_index(start_tracker, cluster, database):
    """A bitmap of a few rows costs more than the rows; what comes by one is not counted for the index."""
    tracker = start_tracker("--expire", "600", db=cluster.uri(database))
    api = tracker.client()
    api.register(7001, [record("first")])
    for _ in range(20):
        api.heartbeat()
    tracker.stop()
    fetched = "SELECT idx_tup_fetch FROM pg_stat_user_indexes WHERE indexrelname = 'peers_id_key'"
    assert int(cluster.sql(fetched, database)) >= 20


# ---- databases that it must not or cannot use ----


def run_tracker(folder, db, *words, environment=None):
    done = subprocess.run(
        [programs.BIN / "tracker", *programs.QUIET, "--listen", "127.0.0.1:0", "--db", db, "-v", *words], cwd=folder,
        env={**programs.environment(folder), **(environment or {})}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    programs.check_sanitizers(done.stderr, done.returncode, "tracker")
    return done


def refused(folder, db, *words, **options):
    """The tracker says why it does not start, in a sentence, and shows no password."""
    done = run_tracker(folder, db, **options)
    text = done.stdout + done.stderr
    assert done.returncode == 1, text
    for word in words:
        assert word in text, text
    for secret in (SECRET, "5e@cret", "5e%40cret"):
        assert secret not in text
    return text


def test_a_database_that_cannot_be_reached_is_named(cluster, tmp_path):
    refused(tmp_path, cluster.uri("nothing", password=SECRET), '"nothing" does not exist')
    refused(tmp_path, cluster.uri("postgres", user="stranger", password=SECRET), '"stranger" does not exist')
    refused(tmp_path, "postgresql://enxame:5e%40cret@no-such-host.invalid/x", "no-such-host.invalid")
    with kept_port() as port:
        refused(tmp_path, f"postgresql://enxame:5e%40cret@127.0.0.1:{port}/x", str(port), "refused")
        refused(tmp_path, f"postgresql://enxame@127.0.0.1:{port}/x?password=5e%40cret", str(port))


def test_malformed_uris_are_refused_without_what_may_be_a_password(tmp_path):
    for uri in (
        "postgresql://enxame:5e%zzcret@h/x", "postgresql://enxame:5e@cret@host:port/x", "postgresql://[::1/5e@cret",
        "postgresql://enxame:x@h/db?nonsense=5e@cret", "postgresql://enxame:pass:w/rd?5e@cret@h/db",
    ):  # fmt: skip
        done = run_tracker(tmp_path, uri)
        assert done.returncode in (1, 2) and done.stderr.strip()
        for part in ("5e%zzcret", "5e@cret", "cret@", "w/rd"):
            assert part not in done.stdout + done.stderr, done.stderr


def test_a_wrong_password_is_told_and_a_right_one_is_never_shown(clusters, start_tracker, tmp_path):
    cluster = clusters.cluster(tcp=True)
    name = cluster.database()
    cluster.sql(f"ALTER ROLE {postgres.USER} PASSWORD '{SECRET}'")
    cluster.demand_passwords()
    refused(tmp_path, cluster.uri(name, password="5e@cret"), "password authentication failed", postgres.USER)
    refused(tmp_path, cluster.uri(name), "password")
    for uri, environment in ((cluster.uri(name, password=SECRET), {}), (cluster.uri(name), {"PGPASSWORD": SECRET})):
        with pytest.MonkeyPatch.context() as patch:
            for key, value in environment.items():
                patch.setenv(key, value)
            tracker = start_tracker("-v", "--expire", "600", db=uri)
        tracker.client().register(7001, [record("x")])
        cluster.restart()
        wait_until(lambda tracker=tracker: "is back" in tracker.err())
        wait_until(lambda tracker=tracker: tracker.client().get("/v1/files").status_code == 200)
        tracker.stop()
        assert "5e@cret" not in tracker.log() and "5e%40cret" not in tracker.log()


def test_the_database_of_another_program_is_refused_and_left_alone(cluster, database, tmp_path):
    cluster.sql(f"SET ROLE {postgres.USER}; CREATE SCHEMA enxame; CREATE TABLE enxame.tracker (precious text)", database)
    refused(tmp_path, cluster.uri(database), database, "another program")
    assert cluster.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'enxame'", database) == "tracker"


def test_a_database_of_a_newer_schema_is_refused_and_left_alone(cluster, database, start_tracker, tmp_path):
    start_tracker(db=cluster.uri(database)).stop()
    cluster.sql("UPDATE enxame.tracker SET version = 99", database)
    refused(tmp_path, cluster.uri(database), "schema version 99", "newer tracker")
    assert cluster.sql("SELECT version FROM enxame.tracker", database) == "99"


def test_a_database_without_the_right_to_write_is_refused(cluster, database, tmp_path):
    name = cluster.database(owner=postgres.ADMIN)
    refused(tmp_path, cluster.uri(name), "permission denied")
    cluster.drop(name)


def test_searches_work_without_trigrams(cluster, start_tracker):
    """Somebody else's database, in which the user has a schema and no right to create anything else."""
    name = cluster.database(owner=postgres.ADMIN)
    cluster.sql(f"CREATE SCHEMA enxame AUTHORIZATION {postgres.USER}", name)
    tracker = start_tracker("--expire", "600", db=cluster.uri(name))
    peer = tracker.client()
    names = ["music/Été à Paris.ogg", "100% sure.txt", "under_score", "underXscore", "plain.txt"]
    peer.register(7001, [Content(one.encode(), one).record() for one in names])
    for q, found in (
        ("ÉTÉ", names[:1]), ("0% s", names[1:2]), ("R_S", names[2:3]), (".txt", [names[1], names[4]]), ("un*E", names[2:4]),
        ("pl", names[4:]), ("*", names), ("nothing", []),
    ):  # fmt: skip
        assert sorted(row["name"] for row in peer.files(q)) == sorted(found), q
    assert tracker.err().count("trigrams") == 1
    tracker.stop()
    cluster.drop(name)


def test_the_index_for_searches_is_made_once_and_told_of(start_tracker, cluster, database):
    tracker = start_tracker(db=cluster.uri(database))
    assert re.search("making the index for searches .*minute.*\n.*the index for searches is made\n", tracker.err())
    assert "index" not in start_tracker(db=cluster.uri(database)).err()
