"""Discovery on the LAN, spoken from the protocol alone; no code is shared with the programs."""

import hashlib
import json
import secrets
import socket
import struct
import time

GROUP_V4, GROUP_V6, PORT = "239.255.70.70", "ff02::7070", 5007
SIZE_MAX = 1200
_IP_MULTICAST_ALL = 49


def network_hash(name):
    return hashlib.sha256(name.encode()).hexdigest()


def beacon(network, port, role="peer", **members):
    """A well-formed packet, of nobody."""
    value = {"enxame": 1, "network": network_hash(network), "role": role, "id": secrets.token_hex(32)}
    value |= {"instance": secrets.token_hex(16), "clock": 1, "port": port}
    return json.dumps(value | members, separators=(",", ":")).encode()


class Listener:
    """Hears what is announced on loopback."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        self.socket.bind((GROUP_V4, PORT))
        group = struct.pack("4s4si", socket.inet_aton(GROUP_V4), bytes(4), socket.if_nametoindex("lo"))
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)

    def hear(self, network, timeout_s=60):
        """The next beacon of that network, and who sent it."""
        deadline = time.monotonic() + timeout_s
        while True:
            left = deadline - time.monotonic()
            assert left > 0, f"no beacon within {timeout_s} s"
            self.socket.settimeout(left)
            data, sender = self.socket.recvfrom(65536)
            if data.startswith(b'{"enxame":1,"network":"%s",' % network_hash(network).encode()):
                assert len(data) <= SIZE_MAX
                return json.loads(data), sender

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


class Sender:
    """Speaks on loopback, from a port of its own."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))

    def say(self, data):
        self.socket.sendto(data, (GROUP_V4, PORT))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
