"""The least BitTorrent tracker that will do (BEP 3 and 23): tells everybody of everybody.

usage: bt_tracker.py ADDRESS PORT
"""

import http.server
import socket
import sys
import urllib.parse

import torrent

INTERVAL_S = 60


class Handler(http.server.BaseHTTPRequestHandler):
    swarms = {}  # info_hash: {(address, port): complete}

    def do_GET(self):
        query = urllib.parse.urlsplit(self.path).query
        asked = dict(urllib.parse.parse_qsl(query, encoding="latin-1"))
        swarm = self.swarms.setdefault(asked.get("info_hash", ""), {})
        own = (self.client_address[0], int(asked.get("port", "0")))
        if asked.get("event") == "stopped":
            swarm.pop(own, None)
        else:
            swarm[own] = asked.get("left") == "0"
        others = [one for one in swarm if one != own]
        answer = torrent.encode({
            "interval": INTERVAL_S,
            "min interval": 1,
            "complete": sum(swarm.values()),
            "incomplete": len(swarm) - sum(swarm.values()),
            "peers": b"".join(socket.inet_aton(host) + port.to_bytes(2, "big") for host, port in others),
        })  # fmt: skip
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def main():
    server = http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler)
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
