"""Asks the programs' HTTP servers, from within a host where they are on one."""

import contextlib
import http.client

import network
from process import Failed


def ask(address, port, path, body=None, host=None):
    """The body of the answer; what refuses the connection is Failed."""
    connection = http.client.HTTPConnection(address, port, timeout=20)
    try:
        with network.inside(host.namespace) if host else contextlib.nullcontext():
            connection.connect()
        connection.request("GET" if body is None else "POST", path, body)
        return connection.getresponse().read()
    except (OSError, http.client.HTTPException) as fault:
        raise Failed(f"http://{address}:{port}{path}: {fault}") from None
    finally:
        connection.close()


def answers(process, address, port, path, host=None):
    """The answer of a server that may not be up yet: None where it is not.  It must be alive."""
    if process.ended():
        raise Failed(process.explain("ended too soon"))
    try:
        return ask(address, port, path, host=host)
    except Failed:
        return None
