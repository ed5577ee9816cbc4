"""Three peers keep a folder, and everything happens to them at random: nothing is lost, and in the end all have the same."""

import os
import random
import re
import signal
import time

import pytest

import programs
from programs import wait_until
from sync_user import User, contents
from synced import snapshot

PEERS = 3
SEED = int(os.environ.get("ENXAME_SEED", "1"))
SETTLE_S = 100 * (3 if programs.SANITIZED else 1)
FOLDERS = ["", "a", "b", "a/deep", "b/deep/er", "c"]
NAMES = ["one.txt", "two.txt", "three", "four.dat", "é.txt", "six"]


def still(folder):
    """What is in the folder; None where something went away under our eyes."""
    try:
        return snapshot(folder)
    except (FileNotFoundError, NotADirectoryError):
        return None


def differences(one, other):
    return [f"{name}: {one.get(name)} | {other.get(name)}" for name in sorted(one.keys() | other.keys())
            if one.get(name) != other.get(name)]  # fmt: skip


class Member:
    """One peer with its folder: up, alone (in a network of its own), frozen, or down."""

    def __init__(self, world, number):
        self.world = world
        self.number = number
        self.folder = world.path / f"synced{number}"
        self.dir = world.path / f"state{number}"
        self.neighbours = world.path / f"neighbours{number}"
        self.user = User(self.folder, world.path / f"aside{number}", world.written, world.ended)
        self.folder.mkdir()
        self.program = None
        self.port = 0
        self.state = "down"

    def start(self, alone=False):
        others = [f"127.0.0.1:{one.port}" for one in self.world.members if one is not self and one.port]
        self.neighbours.write_text("\n".join(others) + "\n")
        network = f"{self.world.network} {self.number}" if alone else self.world.network
        args = ["--no-tracker", "--network", network, "--neighbours", self.neighbours, "--sync", self.folder]
        self.program = self.world.launcher.start_peer(tracker=[], dir=self.dir, args=args, port=self.port)
        self.port = self.program.port
        self.state = "alone" if alone else "up"

    def thaw(self):
        if self.state == "frozen":
            self.program.send(signal.SIGCONT)
            self.state = "up"

    def stop(self, kill):
        self.thaw()
        if kill:
            self.program.kill()
        else:
            self.program.stop()
        self.state = "down"
        self.world.check_whole(self)

    def disturb(self, dice):
        how = dice.choices(["kill", "stop", "freeze", "alone"], [5, 2, 2, 3])[0]
        if how == "freeze":
            self.program.send(signal.SIGSTOP)
            self.state = "frozen"
            return how
        self.stop(how != "stop")
        if how == "alone":
            self.start(alone=True)
        return how

    def recover(self):
        if self.state == "frozen":
            self.thaw()
            return
        if self.state == "alone":
            self.stop(kill=True)
        if self.state == "down":
            self.start()


class World:
    def __init__(self, path, launcher, seed):
        self.path = path
        self.launcher = launcher
        self.network = f"random {os.getpid()}"
        self.dice = random.Random(seed)
        self.written, self.ended = set(), set()
        self.members = []
        self.diary = []
        self.made = 0
        for number in range(PEERS):
            self.members.append(Member(self, number))
        for member in self.members:
            member.start()

    def data(self):
        """Never the same twice, of a size that takes one way or another through the peers."""
        self.made += 1
        size = self.dice.choices([0, 100, 5000, 100_000, 700_000], [1, 10, 5, 2, 1])[0]
        return b"%d\n" % self.made + self.dice.randbytes(size)

    def name(self):
        folder = self.dice.choice(FOLDERS)
        return (folder + "/" if folder else "") + self.dice.choice(NAMES)

    def existing(self, member, folders=False):
        seen = still(member.folder) or {}
        names = sorted(name for name, what in seen.items() if (what == "folder") == folders)
        return self.dice.choice(names) if names else None

    def act(self, member):
        acts = ["save", "overwrite", "append", "rename", "remove", "folder", "move", "clear", "touch", "turn"]
        act = self.dice.choices(acts, [30, 10, 10, 12, 8, 3, 4, 2, 4, 1])[0]
        on_folder = act in ("move", "clear")
        name = self.name() if act in ("save", "folder") else self.existing(member, on_folder)
        self.diary.append(f"{member.number} {act} {name}")
        if name is None:
            return
        user = member.user
        if act == "save":
            user.save(name, self.data())
        elif act in ("overwrite", "append"):
            user.overwrite(name, self.data(), append=act == "append")
        elif act == "rename":
            user.rename(name, self.name())
        elif act in ("remove", "clear"):
            user.remove(name)
        elif act == "folder":
            (member.folder / self.dice.choice(["d", "a/e", "b/deep/f", "one.txt"])).mkdir(parents=True)
        elif act == "move":
            user.rename(name, f"moved{self.made}")
        elif act == "touch":
            path = member.folder / name
            os.chmod(path, 0o755 if self.dice.random() < 0.5 else 0o644)
            os.utime(path, ns=(0, self.dice.randrange(1, 2**60)))
        else:
            user.remove(name)
            (member.folder / name).mkdir()

    def step(self):
        member = self.dice.choice(self.members)
        if self.dice.random() < 0.08:
            if member.state == "up":
                self.diary.append(f"{member.number} {member.disturb(self.dice)}")
            else:
                self.diary.append(f"{member.number} is back")
                member.recover()
        else:
            try:
                self.act(member)
            except OSError as error:  # something came or went under the user's hands, as it may
                self.diary.append(f"  {error}")
        time.sleep(self.dice.choice([0, 0, 0.01, 0.05, 0.15]))

    def check_whole(self, member):
        """No file has a content that nobody ever gave it."""
        for name, what in snapshot(member.folder).items():
            assert what == "folder" or what[0] in self.written, f"{name} is not whole\n{self.story()}"

    def story(self):
        return "\n".join(self.diary[-400:])

    def settled(self):
        trees = [still(member.folder) for member in self.members]
        return None not in trees and trees[0] == trees[1] == trees[2] and all(map(self.is_current, self.members))

    def is_current(self, member):
        said = self.launcher.attach(["sync"], member.dir)
        return re.search(r"^state +up to date", said.stdout, re.MULTILINE)

    def settle(self):
        for member in self.members:
            member.recover()
        try:
            wait_until(self.settled, SETTLE_S)
        except AssertionError:
            trees = [snapshot(member.folder) for member in self.members]
            lines = differences(trees[0], trees[1]) + ["---"] + differences(trees[1], trees[2])
            said = [self.launcher.attach(["sync"], member.dir).stdout for member in self.members]
            raise AssertionError("\n".join([*lines, *said, self.story()])) from None

    def check_nothing_lost(self):
        found = set().union(*(contents(member.folder) for member in self.members))
        lost = self.written - self.ended - found
        assert not lost, f"{lost} are lost\n{self.story()}"


def run(path, launcher, seed, steps):
    world = World(path, launcher, seed)
    for number in range(steps):
        world.step()
        if number % 250 == 249:
            world.settle()
    world.settle()
    for member in world.members:
        world.check_whole(member)
    world.check_nothing_lost()
    return world


@pytest.mark.sanitized
@pytest.mark.timeout(500 if programs.SANITIZED else 240)
def test_what_happens_at_random_loses_nothing_and_ends_the_same(tmp_path, launcher):
    world = run(tmp_path, launcher, SEED, 150)
    assert len(world.written) > 50


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(SEED + 1, SEED + 4))
def test_for_long(tmp_path, launcher, seed):
    run(tmp_path, launcher, seed, 2000)
