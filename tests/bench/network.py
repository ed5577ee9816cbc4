"""Hosts on one switch, made of network namespaces, with token-bucket limited links.

The namespaces have no names: only this process, and the programs that it starts, hold them.  When those are gone, even
by kill -9, the kernel removes namespaces, links and bridge; the machine's own network never sees any of it.
"""

import contextlib
import ctypes
import json
import os
import subprocess

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

# What a link may send at once.  It has to outlast a timer that comes late on a busy machine, and holds a whole 64 KiB
# segment of the kernel, so that none has to be cut up.
BURST_S = 0.004
BURST_MIN_BYTES = 70_000
# How long a byte waits at most in front of a full link: what does not fit is dropped.
QUEUE_S = 0.05


class NetworkError(Exception):
    pass


def _call(name, *arguments):
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise NetworkError(f"{name}: {os.strerror(number)}")


def enter(namespace):
    """Moves the calling thread into the namespace; for a child between fork and exec."""
    _call("setns", namespace, _CLONE_NEWNET)


@contextlib.contextmanager
def inside(namespace):
    """Sockets that the calling thread opens here belong to the namespace."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(namespace)
        try:
            yield
        finally:
            enter(own)
    finally:
        os.close(own)


def _new_namespace():
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("unshare", _CLONE_NEWNET)
        try:
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            enter(own)
    finally:
        os.close(own)


def _run(namespace, words, stdin=None):
    done = subprocess.run(
        words, input=stdin, capture_output=True, text=True, timeout=60, check=False,
        preexec_fn=lambda: enter(namespace),
    )  # fmt: skip
    if done.returncode != 0:
        raise NetworkError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def _limit(namespace, device, bits_s):
    burst = max(BURST_MIN_BYTES, int(bits_s / 8 * BURST_S))
    words = f"tc qdisc add dev {device} root tbf rate {bits_s}bit burst {burst} latency {QUEUE_S * 1000:.0f}ms"
    _run(namespace, words.split())


class Host:
    """One machine on the switch: its namespace, and its address."""

    def __init__(self, name, namespace, address):
        self.name = name
        self.namespace = namespace
        self.address = address

    def sent_link_bytes(self):
        """What it put on its (limited) link so far, framing included."""
        shown = json.loads(_run(self.namespace, "tc -s -j qdisc show dev eth0 root".split()))
        return shown[0]["bytes"]


class Network:
    """A switch, and as many hosts as are added."""

    def __init__(self, congestion=None, ipv6=False):
        self.congestion = congestion
        self.ipv6 = ipv6  # alone: hosts have no IPv4 address then
        self.hosts = []
        self._descriptors = []
        self._hub = self._add_namespace()
        _run(self._hub, ["ip", "-batch", "-"], "link add hub type bridge\nlink set lo up\nlink set hub up\n")

    def _add_namespace(self):
        namespace = _new_namespace()
        self._descriptors.append(namespace)
        with inside(namespace):
            for which in ("all", "default"):
                _set(f"ipv6/conf/{which}/disable_ipv6", "0" if self.ipv6 else "1")
                _set(f"ipv6/conf/{which}/accept_dad", "0")
            if self.congestion:
                _set("ipv4/tcp_congestion_control", self.congestion)
        return namespace

    def add(self, name, up=None, down=None):
        """`up`, `down`: bits a second that it can send and receive; None: no limit."""
        host = self.add_unplugged(name)
        port = self.plug(host)
        if up:
            _limit(host.namespace, "eth0", up)
        if down:
            _limit(self._hub, port, down)
        return host

    def add_unplugged(self, name):
        """A host that has loopback alone, until plug()."""
        number = len(self.hosts) + 1
        namespace = self._add_namespace()
        _run(namespace, ["ip", "-batch", "-"], "link set lo up\n")
        host = Host(name, namespace, f"fd73::{number:x}" if self.ipv6 else f"10.73.{number >> 8}.{number & 255}")
        self.hosts.append(host)
        return host

    def plug(self, host):
        """Gives it its interface and address; the name of the switch's port."""
        port = f"port{self.hosts.index(host) + 1}"
        where = f"/proc/{os.getpid()}/fd/{host.namespace}"
        _run(self._hub, ["ip", "-batch", "-"],
             f"link add {port} type veth peer name eth0 netns {where}\nlink set {port} master hub up\n")  # fmt: skip
        _run(host.namespace, ["ip", "-batch", "-"],
             f"addr add {host.address}/{64 if self.ipv6 else 16} dev eth0\nlink set eth0 up\n")  # fmt: skip
        return port

    def set_link(self, host, up):
        """Its cable at the switch; what it is in the middle of is cut."""
        _run(self._hub, ["ip", "link", "set", f"port{self.hosts.index(host) + 1}", "up" if up else "down"])

    def close(self):
        while self._descriptors:
            os.close(self._descriptors.pop())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _set(name, value):
    """One of the namespace's own kernel settings; the thread is inside.  A kernel without IPv6 lacks some."""
    try:
        with open(f"/proc/sys/net/{name}", "w", encoding="ascii") as file:
            file.write(value)
    except FileNotFoundError:
        pass
    except OSError as fault:
        raise NetworkError(f"{name} = {value}: {fault.strerror}") from None
