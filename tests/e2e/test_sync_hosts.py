"""Folders kept the same by hosts on a switch, each with its own network: no configuration, cut links, and what travels."""

import pathlib
import random
import sys

import pytest

import programs
from programs import wait_until
from synced import conflicts, snapshot, texts

sys.path.insert(0, str(programs.ROOT / "tests" / "bench"))
import network as lab  # noqa: E402

pytestmark = pytest.mark.needs_root


class Site:
    """A host with its folder, and a peer that was told of nothing but the folder."""

    def __init__(self, switch, number, tmp_path, launcher):
        self.host = switch.add(f"host{number}")
        self.switch = switch
        self.path = tmp_path / f"synced{number}"
        self.dir = tmp_path / f"state{number}"
        self.launcher = launcher
        self.path.mkdir()

    def start(self):
        where = f"/proc/{pathlib.Path('/proc/self').readlink()}/fd/{self.host.namespace}"
        self.peer = self.launcher.start_peer(
            tracker=[], dir=self.dir, host="0.0.0.0", discover=True, args=["--sync", self.path],
            wrapper=["nsenter", f"--net={where}", "--"],
        )  # fmt: skip

    def plug(self, on):
        self.switch.set_link(self.host, on)

    def link_bytes(self):
        """All that went out on its link so far, framing included."""
        with lab.inside(self.host.namespace):
            for line in pathlib.Path("/proc/thread-self/net/dev").read_text().splitlines():
                name, _, fields = line.partition(":")
                if name.strip() == "eth0":
                    return int(fields.split()[8])
        raise AssertionError("no eth0")


@pytest.fixture
def sites(tmp_path, launcher):
    with lab.Network() as switch:
        yield [Site(switch, number, tmp_path, launcher) for number in range(3)]
        launcher.stop_all()


def same(sites, count=None):
    first, *others = (snapshot(site.path) for site in sites)
    return (count is None or len(first) == count) and all(one == first for one in others) and first


def wait_same(sites, count=None):
    return wait_until(lambda: same(sites, count), 90, "folders that are the same")


def test_three_hosts_with_nothing_but_a_folder_find_each_other_and_keep_it(sites):
    for site in sites:
        site.start()
        assert "--network" in site.peer.log(), "the default network is told of"
    dice = random.Random(5)
    for number in range(300):
        path = sites[0].path / f"folder{number % 7}" / f"file{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(dice.randbytes(dice.choice([0, 10, 3000, 20_000, 300_000 if number % 50 == 0 else 1])))
    wait_same(sites, 307)
    (sites[1].path / "folder3/file3").write_bytes(b"an edit, from another host")
    wait_until(lambda: all((site.path / "folder3/file3").read_bytes().startswith(b"an edit") for site in sites))
    assert not conflicts(wait_same(sites, 307))


def test_what_hosts_did_while_their_links_were_cut_is_all_kept(sites):
    for site in sites:
        site.start()
    (sites[0].path / "shared.txt").write_bytes(b"as it was")
    (sites[0].path / "doomed.txt").write_bytes(b"deleted here, edited there")
    wait_same(sites, 2)
    for site in sites:
        site.plug(False)
    for number, site in enumerate(sites):
        (site.path / "shared.txt").write_bytes(b"by host %d" % number)
        (site.path / f"own{number}").mkdir()
        (site.path / f"own{number}" / "file").write_bytes(b"of host %d" % number)
    (sites[0].path / "doomed.txt").unlink()
    (sites[1].path / "doomed.txt").write_bytes(b"edited")
    for site in sites:
        wait_until(lambda site=site: "up to date" in site.launcher.attach(["sync wait 60"], site.dir).stdout)
        site.plug(True)
    found = wait_same(sites, 10)
    assert len(conflicts(found)) == 2
    kept = texts(sites[0].path)
    assert {b"by host 0", b"by host 1", b"by host 2"} <= set(kept.values())
    assert kept["doomed.txt"] == b"edited"


def change_and_count(sites, size, change):
    """What the others' folders become the same for, in bytes on all links together for each of the two that fetch."""
    path = programs.random_file(sites[0].path / "large", size)
    for site in sites:
        site.start()
    wait_same(sites, 1)
    before = sum(site.link_bytes() for site in sites)
    change(path)
    wait_same(sites, 1)
    return (sum(site.link_bytes() for site in sites) - before) / (len(sites) - 1)


def rewrite_middle(path):
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(random.Random(9).randbytes(1 << 20))


def append(path):
    with open(path, "ab") as file:
        file.write(random.Random(9).randbytes(1 << 20))


@pytest.mark.parametrize("change", [rewrite_middle, append])
def test_a_change_of_a_large_file_moves_little_more_than_itself(sites, change):
    assert 1 << 20 < change_and_count(sites, 48 << 20, change) < 4 << 20


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("change", [rewrite_middle, append])
def test_a_change_of_a_gigabyte_moves_little_more_than_itself(sites, change):
    assert 1 << 20 < change_and_count(sites, 1 << 30, change) < 4 << 20
