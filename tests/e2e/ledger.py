"""Clients that change their registrations all the time and keep a ledger of what the tracker acknowledged.

A tracker, or its database, may be killed under them at any moment.  Afterwards Ledger.check() demands that every
acknowledged write is there, that one whose answer was lost is there as a whole or not at all, and nothing else is.
"""

import concurrent.futures
import random
import threading
import time

import requests

from apis import Identity, expect
from contents import sha256
from programs import wait_until

WORKERS = 8
# Of one worker; older ones unregister, so that all of them can be looked at after each fault.
ACCOUNTS_MAX = 30


class Account:
    """One registration.  `possible`: the sets of names that it may have, None standing for no registration."""

    def __init__(self):
        self.identity = Identity()
        self.possible = [None]
        self.number = 0

    @property
    def names(self):
        (names,) = self.possible
        return names

    def new_name(self):
        self.number += 1
        return f"{self.identity.id}/{self.number}"


def record(name):
    return {"name": name, "size": len(name), "root": sha256(name.encode()).hex(), "complete": True}


class Ledger:
    def __init__(self):
        self.accounts = [[] for _ in range(WORKERS)]  # each worker's own
        self.gone = []
        self.acknowledged = 0
        self._lock = threading.Lock()
        self._over = threading.Event()

    def start(self, tracker):
        """Begins the load.  `tracker` has client(identity)."""
        self._over.clear()
        self._pool = concurrent.futures.ThreadPoolExecutor(WORKERS)
        self._futures = [self._pool.submit(self._work, tracker, number) for number in range(WORKERS)]

    def stop(self):
        """Ends it; fails where an answer was wrong."""
        self._over.set()
        for future in self._futures:
            future.result(60)
        self._pool.shutdown()

    def kill_under_load(self, tracker):
        """Kills the tracker at some moment while it takes writes."""
        enough = self.acknowledged + random.randrange(20, 300)
        self.start(tracker)
        wait_until(lambda: self.acknowledged >= enough, 60)
        time.sleep(random.random() / 100)
        tracker.kill()
        self.stop()

    def _work(self, tracker, number):
        dice, api = random.Random(), tracker.client()
        while not self._over.is_set():
            try:
                self._one(api, self.accounts[number], dice)
            except requests.RequestException:
                time.sleep(0.05)  # gone, or coming back; the account is left uncertain

    def _one(self, api, accounts, dice):
        sure = [account for account in accounts if len(account.possible) == 1]
        if not sure or (len(accounts) < ACCOUNTS_MAX and dice.random() < 0.3):
            account = Account()
            accounts.append(account)
            self._register(api, account, dice)
            return
        account = dice.choice(sure)
        if len(accounts) >= ACCOUNTS_MAX and dice.random() < 0.2:
            self._write(api, account, None, api.try_unregister, 204)
        elif dice.random() < 0.2:
            self._register(api, account, dice)
        elif dice.random() < 0.5:
            self._write(api, account, account.names, api.try_heartbeat, 200)
        else:
            old = set(dice.sample(sorted(account.names), k=min(2, len(account.names))))
            new = {account.new_name() for _ in range(dice.randrange(1, 5))}
            add, remove = [record(name) for name in sorted(new)], [record(name) for name in sorted(old)]
            self._write(api, account, (account.names - old) | new, lambda: api.try_change(add, remove), 200)
        if account.possible == [None]:
            accounts.remove(account)
            self.gone.append(account.identity.id)

    def _register(self, api, account, dice):
        names = {account.new_name() for _ in range(dice.randrange(1, 8))}
        files = [record(name) for name in sorted(names)]
        self._write(api, account, names, lambda: api.try_register(7001, files, "127.0.0.1"), 200)

    def _write(self, api, account, names, call, status):
        """One request that leads to `names`.  Until its answer is here it may or may not have been done."""
        before = account.possible
        api.identity = account.identity
        account.possible = before if names in before else [*before, names]
        answer = call()
        if answer.status_code in (503, 507):
            if answer.status_code == 507:  # which promises that nothing was changed
                account.possible = before
            time.sleep(0.05)
            return
        expect(answer, status)
        if status == 200:
            assert answer.json()["files"] == len(names)
        account.possible = [names]
        with self._lock:
            self.acknowledged += 1

    def check(self, api):
        """After stop(): the tracker behind `api` knows just what was acknowledged.  What was uncertain is settled."""
        counts = {row["id"]: row["files"] for row in api.peers(limit=1000)}
        found = {identity: set() for identity in counts}
        for row in api.files(limit=1000):
            assert row["holders"] == 1 and record(row["name"])["root"] == row["root"]
            found[row["name"].split("/")[0]].add(row["name"])
        for identity, names in found.items():
            assert len(names) == counts[identity]
        assert not set(self.gone) & set(found)
        for accounts in self.accounts:
            for account in accounts:
                names = found.pop(account.identity.id, None)
                assert names in account.possible, f"{names} is none of {account.possible}"
                account.possible = [names]
            accounts[:] = [account for account in accounts if account.names is not None]
        assert not found
