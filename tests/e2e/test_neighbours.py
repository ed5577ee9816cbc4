"""Peers without a tracker: hello, bye, lists of others, downloads from neighbours, the Lamport clock."""

import contextlib
import re
import time

import pytest

import programs
from client import FakeHolder, Identity, expect, expect_problem
from contents import Content
from fake_neighbour import NETWORK, FakeNeighbour
from programs import random_file, wait_until

LONELY = ["--no-tracker"]


def neighbours(peer):
    """What it tells others: {id: row}."""
    return {row["id"]: row for row in peer.client().get_json("/v1/peers")["peers"]}


def online(peer):
    return {one for one, row in neighbours(peer).items() if row["status"] == "ONLINE"}


def shown(launcher, peer, command="neighbours"):
    return launcher.attach([command], peer.dir).ok().stdout


@pytest.fixture
def start(launcher, start_peer, tmp_path):
    """start(*neighbours, files=(), network=None, **options): a peer that knows these (programs, or "host:port")."""

    def start_one(*known, files=(), network=None, args=(), tracker=(), **options):
        path = tmp_path / f"neighbours{len(launcher.started)}.txt"
        path.write_text("".join(f"{getattr(one, 'address', one)}\n" for one in known))
        words = ["--neighbours", path, *args, *([] if tracker else LONELY)]
        words += ["--network", network] if network else []
        peer = start_peer(tracker=tracker, files=files, args=words, **options)
        peer.neighbours_path = path
        return peer

    return start_one


# ---- who knows whom ----


@pytest.mark.sanitized
def test_five_in_a_chain_know_each_other_and_get_the_last_ones_file(start, launcher, tmp_path):
    path = random_file(tmp_path / "far.bin", 300_000)
    peers = [start(files=[path])]
    for _ in range(4):
        peers.append(start(peers[-1]))
    ids = {peer.id for peer in peers}
    begun = time.monotonic()
    for peer in peers:
        wait_until(lambda peer=peer: online(peer) == ids - {peer.id}, what=f"{peer.name} knows all")
    print(f"all knew all after {time.monotonic() - begun:.1f} s")
    first = peers[-1]
    listing = launcher.attach(["ls", "download 1", "owners far.bin"], first.dir).ok().stdout
    assert "far.bin" in listing and peers[0].address in listing
    assert (first.dir / "far.bin").read_bytes() == path.read_bytes()
    table = shown(launcher, first)
    assert table.count("ONLINE") == 4 and re.search(rf"{peers[0].address} +ONLINE +\d+ +\d+ +{peers[0].short_id}", table)


@pytest.mark.sanitized
def test_the_file_keeps_the_users_words_and_gets_those_who_answered(start, tmp_path):
    with FakeNeighbour() as alive, FakeNeighbour(network="ab" * 32) as foreign:
        peer = start()
        peer.stop()
        path = peer.neighbours_path
        text = f"# mine\r\n\r\n  {alive.address}  # the one next door\n127.0.0.1:1\nrubbish\n[::1]:99999\nno such:7"
        path.write_bytes(text.encode())
        path.chmod(0o640)
        second = FakeNeighbour()
        alive.peers = [second.row(), foreign.row()]
        with second:
            third = start(args=["--neighbours", path])
            wait_until(lambda: second.address in path.read_text())
            assert path.read_bytes().decode() == f"{text}\n{second.address}\n"
            assert path.stat().st_mode & 0o777 == 0o640
            for number in (5, 6, 7):
                assert f"line {number} " in third.err()
            assert "line 1 " not in third.err() and third.address not in path.read_text()


def test_a_file_that_cannot_be_used_is_an_error(run_peer, tmp_path):
    for path in (tmp_path, tmp_path / "no/such/folder.txt", "/dev/null"):
        done = run_peer(["clock"], tracker=(), args=[*LONELY, "--neighbours", path])
        assert done.status == 1 and str(path) in done.stderr


def test_who_is_killed_is_offline_and_who_comes_back_is_online(start, launcher, tmp_path):
    one = start(files=[random_file(tmp_path / "a.bin", 1000)])
    other = start(one)
    wait_until(lambda: online(other) == {one.id})
    known, port = one.id, one.port
    one.kill()
    wait_until(lambda: neighbours(other)[known]["status"] == "OFFLINE")
    assert re.search(rf"127.0.0.1:{port} +OFFLINE", shown(launcher, other))
    start(dir=one.dir, port=port)
    wait_until(lambda: online(other) == {known})


@pytest.mark.sanitized
def test_bye_is_said_at_the_end_and_believed_from_ones_own_host_alone(start):
    with FakeNeighbour() as fake:
        peer = start(fake)
        wait_until(lambda: online(peer) == {fake.id})
        api = peer.client()
        expect(api.call("POST", "/v1/bye", {"id": Identity().id}), 204)  # nobody that it knows
        assert online(peer) == {fake.id}
        expect(api.call("POST", "/v1/bye", {"id": fake.id}), 204)
        assert online(peer) == set()
        expect(api.call("POST", "/v1/hello", fake.hello()), 200)  # it is back
        wait_until(lambda: online(peer) == {fake.id})
        peer.stop()
        assert [one[4] for one in fake.asked("/v1/bye")] == [{"id": fake.asked("/v1/hello")[0][4]["id"]}]


def test_the_end_waits_for_nobody(start):
    with FakeNeighbour() as fake:
        peer = start(fake)
        wait_until(lambda: online(peer) == {fake.id})
        fake.hang = True
        peer.stop()  # within the usual time


# ---- what is not believed ----


def test_another_network_neither_sees_nor_answers(start, launcher):
    with FakeNeighbour(network="ab" * 32) as fake:
        ours = start(fake, network="lab 1")
        theirs = start(ours, network="lab 2")
        answer = ours.client().call("POST", "/v1/hello", fake.hello())
        assert expect_problem(answer, 403, "network").endswith(":other-network")
        wait_until(lambda: fake.asked("/v1/hello"))
        done = launcher.attach([f"hello {theirs.address}"], ours.dir)
        assert done.status == 1 and "another network" in done.stderr
        assert neighbours(ours) == neighbours(theirs) == {}
        assert "ONLINE" not in shown(launcher, ours).replace("OFFLINE", "")
    for bad in ("", "x" * 65, "a\nb", " a"):
        assert launcher.run_peer(["clock"], tracker=(), args=[*LONELY, "--network", bad]).status == 2


@pytest.mark.sanitized
def test_a_greeting_that_lies_about_its_place_aims_at_nobody(start):
    with FakeNeighbour() as victim, FakeNeighbour() as liar:
        peer = start()
        api = peer.client()
        # Somebody else's host is not believed: the greeting goes to where it came from.
        for host in ("192.0.2.77", "0.0.0.0", "224.0.0.1", "::1"):
            expect(api.call("POST", "/v1/hello", liar.hello(host=host)), 200)
        wait_until(lambda: online(peer) == {liar.id})
        # Nor is somebody else's id: who answers at an address says who lives there.
        expect(api.call("POST", "/v1/hello", liar.hello(id=victim.id, instance="00" * 16)), 200)
        time.sleep(0.3)
        assert online(peer) == {liar.id}
        # A greeting alone makes nobody ONLINE, and nobody's list passes it on.
        expect(api.call("POST", "/v1/hello", {**liar.hello(), "id": Identity().id, "port": 9}), 200)
        assert online(peer) == {liar.id} and len(neighbours(peer)) == 1


BAD_HELLOS = [
    {}, {"id": "x"}, {"port": 0}, {"port": 65536}, {"host": "localhost"}, {"instance": "00"}, {"network": "enxame"},
    {"features": "sync"}, {"features": [5]}, {"features": ["x"] * 17}, {"features": ["x" * 33]}, {"files": -1},
]  # fmt: skip


@pytest.mark.sanitized
def test_bad_greetings_and_farewells_are_refused(start):
    peer = start()
    api = peer.client()
    with FakeNeighbour() as fake:
        for members in BAD_HELLOS:
            body = {**fake.hello(), **members} if members else {}
            expect_problem(api.call("POST", "/v1/hello", body), 400, next(iter(members), "id"))
        expect_problem(api.call("POST", "/v1/bye", {"id": 5}), 400, "id")
        expect_problem(api.call("POST", "/v1/hello", b"x" * 20_000), 413)
        expect(api.call("POST", "/v1/hello", {**fake.hello(), "features": ["sync", "dance"], "new": 1}), 200)
        wait_until(lambda: online(peer) == {fake.id})


@pytest.mark.sanitized
def test_lists_full_of_rubbish_hide_nobody(start):
    with FakeNeighbour() as good, FakeNeighbour() as liar:
        peer = start(liar)
        wait_until(lambda: liar.asked("/v1/peers"))
        own = {"id": peer.id, "host": "127.0.0.1", "port": peer.port, "status": "ONLINE", "clock": 9}
        liar.peers = [
            own, {**own, "id": Identity().id}, {**own, "port": 1}, 5, {}, {"id": "x"}, good.row(status="MAYBE"),
            good.row(port=0), good.row(host="0.0.0.0"), good.row(host="224.0.0.1"), good.row(clock=2**53),
            *[good.row(id=Identity().id, port=1 + n) for n in range(300)], liar.row(), good.row(clock=2**53 - 1),
        ]  # fmt: skip
        wait_until(lambda: online(peer) == {liar.id, good.id})
        assert set(neighbours(peer)) == {liar.id, good.id}  # and what does not answer is not passed on


def test_those_who_hang_hold_up_nobody(start, launcher, tmp_path):
    path = random_file(tmp_path / "a.bin", 1000)
    alive = start(files=[path])
    with contextlib.ExitStack() as stack:
        hanging = [stack.enter_context(FakeNeighbour(hang=True)) for _ in range(100)]
        peer = start(*hanging, alive)
        begun = time.monotonic()
        wait_until(lambda: online(peer) == {alive.id})
        print(f"the one that lives was found after {time.monotonic() - begun:.1f} s")
        launcher.attach(["download a.bin"], peer.dir).ok()
        assert (peer.dir / "a.bin").read_bytes() == path.read_bytes()
        peer.stop()


# ---- the commands ----


@pytest.mark.sanitized
def test_hello_and_ls_at_the_prompt(start, launcher, tmp_path):
    path = random_file(tmp_path / "same.bin", 5000)
    again = tmp_path / "other name.bin"
    again.write_bytes(path.read_bytes())
    one, two, peer = start(files=[path]), start(files=[again]), start()
    done = launcher.attach([f"hello {one.address}", f"hello {two.address}", "ls", f"ls {two.address}"], peer.dir).ok()
    assert re.search(rf"{one.address} is peer {one.short_id}: ONLINE", done.stdout)
    whole, single = done.stdout.split("HOLDERS")[1:]
    assert whole.count(Content(path.read_bytes()).root[:12]) == 1  # one row, whatever the names
    assert one.address in whole and two.address in whole and one.address not in single
    for wrong, word in (("hello", "usage"), ("hello nowhere", "host:port"), (f"hello {peer.address}", "itself"),
                        ("hello 127.0.0.1:1", "connect"), ("ls 127.0.0.1:1", "connect")):  # fmt: skip
        done = launcher.attach([wrong], peer.dir)
        assert done.status == 1 and word in done.stderr, done.stderr
    assert int(shown(launcher, peer, "clock")) > 0
    names = shown(launcher, peer, "help")
    assert all(word in names for word in ("neighbours", "hello HOST:PORT", "ls [HOST:PORT]", "clock"))


def test_a_script_finds_neighbours_before_its_first_command(start, run_peer, tmp_path):
    path = random_file(tmp_path / "a.bin", 1000)
    far = start(files=[path])
    near = start(far)
    wait_until(lambda: online(near) == {far.id})
    known = tmp_path / "known"
    known.write_text(f"{near.address}\n")
    done = run_peer(["search a", "download a.bin"], tracker=(), args=[*LONELY, "--neighbours", known]).ok()
    assert (done.dir / "a.bin").read_bytes() == path.read_bytes()
    alone = run_peer(["search a"], tracker=(), args=LONELY)
    assert alone.status == 1 and "nobody to ask" in alone.stderr


def test_many_small_files_come_from_neighbours(start, launcher, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number}.txt").write_text(f"content {number}")
    one = start(files=[folder])
    two = start(one, files=[folder])
    peer = start(two)
    wait_until(lambda: len(online(peer)) == 2)
    launcher.attach(["download many/"], peer.dir).ok()
    assert {path.name: path.read_text() for path in (peer.dir / "many").iterdir()} == {
        f"{number}.txt": f"content {number}" for number in range(300)
    }


def test_patterns_are_looked_for_where_the_files_are(start, tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    for number in range(50):
        (folder / f"{number:02}.dat").write_text(str(number))
    peer = start(files=[folder])
    api = peer.client()
    wait_until(lambda: len(api.files()) == 50)
    assert [row["name"] for row in api.pages("/v1/files?q=1", "files", 3)] == []  # a prefix, so short
    assert [row["name"] for row in api.pages("/v1/files?q=*1.dat", "files", 3)] == [f"f/{n}1.dat" for n in range(5)]
    assert len(api.pages("/v1/files?q=F/4", "files", 7)) == 10
    expect_problem(api.get("/v1/files?q=" + "x" * 600), 400, "q")
    content = Content(b"7", "f/07.dat")
    other = Content(b"nobody has it")
    body = {"contents": [{"root": one.root, "size": one.size} for one in (other, content)]}
    found = expect(api.call("POST", "/v1/holders", body), 200).json()["contents"]
    assert [(row["root"], row["holders"][0]["id"], row["holders"][0]["complete"]) for row in found] == [
        (content.root, peer.id, True)
    ]


# ---- with a tracker ----


def test_the_tracker_dies_and_comes_back(start_tracker, start, launcher, tmp_path):
    tracker = start_tracker("--heartbeat", "1", "--expire", "3")
    first, second = random_file(tmp_path / "first.bin", 400_000), random_file(tmp_path / "second.bin", 400_001)
    one = start(tracker=tracker, files=[first])
    two = start(one, tracker=tracker)
    wait_until(lambda: online(two) == {one.id})
    port, db = tracker.port, tmp_path / "tracker.db"
    tracker.kill()
    done = launcher.attach(["search first", "download first.bin"], two.dir).ok()
    assert "does not answer" in done.stderr and "only neighbours" in done.stderr
    assert (two.dir / "first.bin").read_bytes() == first.read_bytes()
    again = start_tracker("--heartbeat", "1", "--expire", "3", listen=f"127.0.0.1:{port}", db=db)
    third = start(tracker=again, files=[second])  # which only the tracker knows of
    wait_until(lambda: two.id in again.client().peer_ids() and again.client().files("second"))
    assert third.id not in neighbours(two)
    launcher.attach(["download second.bin"], two.dir).ok()
    assert (two.dir / "second.bin").read_bytes() == second.read_bytes()


def test_a_download_outlives_its_tracker(start_tracker, start, launcher, tmp_path):
    """What was begun with holders that the tracker named is finished by a neighbour that it did not know."""
    tracker = start_tracker("--heartbeat", "1")
    content = Content.random(2_000_000, name="file.bin")
    path = tmp_path / "file.bin"
    path.write_bytes(content.data)
    with FakeHolder(content, tracker=tracker.address, held=set(range(4)), have_chunk_size=256 * 1024) as holder:
        known = start()
        peer = start(known, tracker=tracker)
        wait_until(lambda: online(peer) == {known.id})
        attached = launcher.start_attached(["download file.bin"], peer.dir)
        wait_until(lambda: sum(holder.chunk_bytes(256 * 1024).values()) >= 4 * 256 * 1024)
        tracker.kill()
        launcher.attach([f"share {path}"], known.dir).ok()
        assert attached.wait() == 0
    assert (peer.dir / "file.bin").read_bytes() == content.data


def test_a_tracker_that_hangs_holds_up_nobody(start, run_peer, launcher, tmp_path):
    path = random_file(tmp_path / "a.bin", 200_000)
    one = start(files=[path])
    with FakeNeighbour(hang=True) as tracker:
        two = start(one, tracker=tracker)
        wait_until(lambda: online(two) == {one.id})
        begun = time.monotonic()
        launcher.attach(["search a", "download a.bin"], two.dir).ok()
        print(f"search and download took {time.monotonic() - begun:.1f} s")
        assert (two.dir / "a.bin").read_bytes() == path.read_bytes()
        two.stop()


# ---- the Lamport clock ----


@pytest.mark.sanitized
def test_every_answer_is_later_than_its_request(tracker, start, tmp_path):
    path = random_file(tmp_path / "a.bin", 200_000)
    peer = start(files=[path], args=["-v"])
    content = Content(path.read_bytes())
    wait_until(lambda: peer.client().files())
    with FakeNeighbour() as fake:
        base = f"/v1/files/{content.root}"
        size = f"?size={content.size}"
        calls = [
            ("GET", "/v1/files", None), ("GET", "/v1/peers", None), ("GET", "/v1/status", None), ("GET", "/nothing", None),
            ("GET", f"{base}/data{size}", None), ("HEAD", f"{base}/data{size}", None), ("GET", f"{base}/data", None),
            ("GET", f"{base}/have{size}", None), ("GET", f"{base}/layer{size}&chunk_size=65536", None),
            ("POST", "/v1/hello", fake.hello()), ("POST", "/v1/bye", {"id": fake.id}), ("POST", "/v1/hello", {}),
            ("POST", "/v1/batch", {"contents": [{"root": content.root, "size": content.size}]}),
            ("POST", "/v1/holders", {"contents": [{"root": content.root, "size": content.size}]}),
            ("DELETE", "/v1/files", None), ("GET", "/metrics", None),
        ]  # fmt: skip
        sent = 1000
        for url in (peer.url, tracker.url):
            last = 0
            api = programs.client.Peer(url)
            for method, path, body in calls:
                sent += 500
                answer = api.call(method, path, body, {"Lamport-Clock": str(sent)})
                clock = int(answer.headers["Lamport-Clock"])
                assert clock > sent and clock > last, (method, path)
                last = clock
        wait_until(lambda: fake.asked("/v1/hello"))
        assert all(came > 0 for _, _, came, _, _ in fake.requests)
    lines = re.findall(r"clock (\d+) -> (\d+): (sent|received) (.*)", peer.err())
    assert len(lines) > 2 * len(calls)
    assert all(int(after) > int(before) for before, after, _, _ in lines)
    assert any(re.search(r"received GET /v1/peers from 127\.0\.0\.1, sent at 2000", line[3]) or "sent at" in line[3]
               for line in lines)  # fmt: skip


@pytest.mark.sanitized
def test_clocks_do_not_go_back_over_a_kill(start_tracker, start, tmp_path):
    tracker = start_tracker()
    peer = start(tracker=tracker)
    shown_last = {}
    for name, url in (("peer", peer.url), ("tracker", tracker.url)):
        api = programs.client.Peer(url)
        for sent in (1, 5000, 5001, 2**40):  # the last one is too far ahead
            shown_last[name] = int(api.get("/healthz", headers={"Lamport-Clock": str(sent)}).headers["Lamport-Clock"])
        assert 5000 < shown_last[name] < 2**33
        for _ in range(50):
            shown_last[name] = int(api.get("/healthz").headers["Lamport-Clock"])
    peer.kill()
    tracker.kill()
    again = start_tracker(db=tmp_path / "tracker.db")
    assert int(programs.client.Peer(again.url).get("/healthz", headers={"Lamport-Clock": None}).headers["Lamport-Clock"]) > (
        shown_last["tracker"]
    )
    back = start(dir=peer.dir)
    assert int(programs.client.Peer(back.url).get("/healthz", headers={"Lamport-Clock": None}).headers["Lamport-Clock"]) > (
        shown_last["peer"]
    )
