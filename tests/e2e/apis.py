"""The tracker API and the peer API, as one more peer calls them."""

import contextlib
import json
import re
import secrets
import socket
import threading
import urllib.parse

import requests

from contents import chunk_hash, root_of_layer, sha256

CLOCK_MAX = 2**53 - 1


class Identity:
    def __init__(self, secret=None):
        self.secret = secret or secrets.token_bytes(32)
        self.id = sha256(self.secret).hex()

    @property
    def bearer(self):
        return {"Authorization": "Bearer " + self.secret.hex()}


class Clock:
    """A Lamport clock."""

    def __init__(self):
        self.value = 0
        self._lock = threading.Lock()

    def tick(self):
        with self._lock:
            self.value = min(self.value + 1, CLOCK_MAX)
            return self.value

    def receive(self, header):
        with self._lock:
            if header is not None and re.fullmatch("[0-9]{1,16}", header):
                self.value = min(max(self.value, int(header)) + 1, CLOCK_MAX)


def host_port(host, port):
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Api:
    """HTTP calls to one address; answers are requests.Response objects, whatever their status."""

    def __init__(self, address, timeout=30):
        self.url = address if address.startswith("http") else "http://" + address
        self.timeout = timeout
        self.clock = Clock()
        self.session = requests.Session()
        self.session.trust_env = False  # no proxies from the environment

    def call(self, method, path, body=None, headers=None, **options):
        """`body`: a value to be sent as JSON, or bytes or text to be sent as they are, said to be JSON.

        A header that `headers` gives as None is left out.
        """
        sent = {"Lamport-Clock": str(self.clock.tick())}
        if body is not None:
            sent["Content-Type"] = "application/json"
            if not isinstance(body, (bytes, str)):
                body = json.dumps(body)
            if isinstance(body, str):
                body = body.encode()
        sent.update(headers or {})
        options.setdefault("timeout", self.timeout)
        answer = self.session.request(
            method, self.url + path, data=body, headers=sent, allow_redirects=False, **options
        )
        self.clock.receive(answer.headers.get("Lamport-Clock"))
        length = answer.headers.get("Content-Length")
        if length and method != "HEAD" and not options.get("stream") and len(answer.content) != int(length):
            raise requests.ConnectionError(f"{len(answer.content)} bytes of {length}")  # requests takes it as whole
        return answer

    def get(self, path, **options):
        return self.call("GET", path, **options)

    def get_json(self, path):
        return expect(self.get(path), 200).json()

    def pages(self, path, member, limit=None):
        """All items of a paged list."""
        items, after = [], None
        while True:
            arguments = {key: value for key, value in (("limit", limit), ("after", after)) if value is not None}
            separator = "&" if "?" in path else "?"
            page = self.get_json(path + (separator + urllib.parse.urlencode(arguments) if arguments else ""))
            items += page[member]
            after = page.get("next")
            if after is None:
                return items

    def close(self):
        self.session.close()


def expect(answer, status):
    """Fails with the problem's own words where the status is another; returns the answer."""
    assert answer.status_code == status, f"{answer.status_code} instead of {status}: {answer.text[:500]}"
    return answer


def expect_problem(answer, status, member=None):
    """An RFC 9457 document of this status, whose detail names `member`; returns its type."""
    expect(answer, status)
    assert answer.headers["Content-Type"].split(";")[0] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status and problem["title"] and problem["detail"]
    if member is not None:
        assert member in problem["detail"], problem["detail"]
    return problem["type"]


def raw(address, data, timeout_s=10):
    """Sends bytes as they are and returns all that comes back until the other side closes or is silent for so long."""
    host, port = address.removeprefix("http://").rsplit(":", 1)
    answer = b""
    with socket.create_connection((host.strip("[]"), int(port)), timeout_s) as connection:
        with contextlib.suppress(TimeoutError, ConnectionError):
            connection.sendall(data)
            while received := connection.recv(65536):
                answer += received
    return answer


class Tracker(_Api):
    """The tracker API, as one peer with its own identity."""

    def __init__(self, address, identity=None, **options):
        super().__init__(address, **options)
        self.identity = identity or Identity()

    def as_other(self, identity=None):
        """The same tracker, as somebody else."""
        return Tracker(self.url, identity)

    def try_register(self, port, files=(), host=None, instance=None, **members):
        body = {"id": self.identity.id, "port": port, "files": list(files), **members}
        if host is not None:
            body["host"] = host
        if instance is not None:
            body["instance"] = instance
        return self.call("POST", "/v1/peers", body, self.identity.bearer)

    def register(self, port, files=(), host=None, instance=None, **members):
        return expect(self.try_register(port, files, host, instance, **members), 200).json()

    def try_heartbeat(self):
        return self.call("POST", f"/v1/peers/{self.identity.id}/heartbeat", {}, self.identity.bearer)

    def heartbeat(self):
        return expect(self.try_heartbeat(), 200).json()

    def try_change(self, add=(), remove=()):
        body = {"add": list(add), "remove": list(remove)}
        return self.call("POST", f"/v1/peers/{self.identity.id}/files", body, self.identity.bearer)

    def change(self, add=(), remove=()):
        return expect(self.try_change(add, remove), 200).json()["files"]

    def try_unregister(self):
        return self.call("DELETE", f"/v1/peers/{self.identity.id}", headers=self.identity.bearer)

    def unregister(self):
        expect(self.try_unregister(), 204)

    def peers(self, limit=None):
        return self.pages("/v1/peers", "peers", limit)

    def peer_ids(self):
        return {peer["id"] for peer in self.peers()}

    def files(self, q=None, limit=None):
        query = "?" + urllib.parse.urlencode({"q": q}) if q is not None else ""
        return self.pages("/v1/files" + query, "files", limit)

    def owners(self, root, size=None):
        """The answer for one content; None where nobody has it."""
        answer = self.get(f"/v1/files/{root}" + (f"?size={size}" if size is not None else ""))
        return None if answer.status_code == 404 else expect(answer, 200).json()

    def holder_ids(self, content):
        found = self.owners(content.root, content.size)
        return {holder["id"] for holder in found["holders"]} if found else set()

    def holders(self, contents):
        body = {"contents": [{"root": content.root, "size": content.size} for content in contents]}
        return expect(self.call("POST", "/v1/holders", body), 200).json()["contents"]


class Peer(_Api):
    """The peer API."""

    def files(self, limit=None):
        return self.pages("/v1/files", "files", limit)

    def status(self):
        return self.get_json("/v1/status")

    def data(self, content, first=None, last=None, method="GET", **options):
        """The answer to a request for bytes; `first` and `last` as in a Range header, both included."""
        headers = options.pop("headers", {})
        if first is not None:
            headers = {"Range": f"bytes={first}-{'' if last is None else last}", **headers}
        return self.call(method, f"/v1/files/{content.root}/data?size={content.size}", headers=headers, **options)

    def layer(self, content, chunk_size, **options):
        return self.get(f"/v1/files/{content.root}/layer?size={content.size}&chunk_size={chunk_size}", **options)

    def have(self, content, since=None, wait_ms=None):
        query = f"size={content.size}"
        query += f"&since={since}" if since is not None else ""
        query += f"&wait_ms={wait_ms}" if wait_ms is not None else ""
        return self.get_json(f"/v1/files/{content.root}/have?{query}")

    def fetch(self, content, chunk_size=256 * 1024):
        """The whole content by layer and ranges, each chunk verified; of `content` only root and size are used."""
        layer = expect(self.layer(content, chunk_size), 200).content if content.size else b""
        count = -(-content.size // chunk_size)
        assert len(layer) == 32 * count
        if count == 0:
            return expect(self.data(content), 200).content
        assert root_of_layer(layer, chunk_size).hex() == content.root
        data = bytearray()
        for index in range(count):
            first = index * chunk_size
            last = min(first + chunk_size, content.size) - 1
            answer = expect(self.data(content, first, last), 206)
            assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{content.size}"
            assert len(answer.content) == last - first + 1
            assert chunk_hash(answer.content, chunk_size, content.size) == layer[32 * index : 32 * index + 32]
            data += answer.content
        return bytes(data)
