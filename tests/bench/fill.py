"""Puts registrations into a tracker as fast as it takes them, and looks at each answer."""

import itertools
import json
import socket

from process import Failed

CONNECTIONS = 32
TIMEOUT_S = 300


def request(path, secret, body):
    data = body.encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAuthorization: Bearer {secret}\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


def answer(file):
    """Status and body of the next one."""
    status = file.readline().split()
    if len(status) < 2:
        raise Failed("the tracker closed a connection on which it was asked")
    length = 0
    while (line := file.readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return int(status[1]), file.read(length)


def fill(address, requests, files=None):
    """Sends all (path, secret, body).  Each must be answered with 200 and, where that is given, with so many `files`."""
    host, _, port = address.rpartition(":")
    sockets = [socket.create_connection((host, int(port)), TIMEOUT_S) for _ in range(CONNECTIONS)]
    answers = [one.makefile("rb") for one in sockets]
    try:
        waiting = iter(requests)
        while group := list(itertools.islice(waiting, CONNECTIONS)):
            for one, words in zip(sockets, group):
                one.sendall(request(*words))
            for file, _ in zip(answers, group):
                status, body = answer(file)
                if status != 200 or files not in (None, json.loads(body)["files"]):
                    raise Failed(f"the tracker answered {status} to a registration: {body.decode(errors='replace')}")
    except OSError as fault:
        raise Failed(f"the tracker took a registration no further: {fault}") from None
    finally:
        for one in (*answers, *sockets):
            one.close()
