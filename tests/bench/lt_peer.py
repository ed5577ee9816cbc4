"""A BitTorrent peer of python3-libtorrent, with the settings that are fastest in a LAN.

usage: lt_peer.py TORRENT FOLDER ADDRESS PORT [SETTING=NUMBER ...]

Prints "ready" once it listens; begins at the line "go"; prints "done" when it has the whole file, and goes on seeding;
who had it from the start prints "announced" when the tracker has answered.  At each line "sent" it tells how many bytes
of payload it has sent.  It ends with its input.
"""

import select
import sys

import libtorrent

# TCP only and no encryption; nothing is asked of the Internet.  No limit on uploads and connections at once: what a
# link of its own can do is all there is to share.
SETTINGS = {
    "alert_mask": libtorrent.alert.category_t.status_notification
    | libtorrent.alert.category_t.error_notification | libtorrent.alert.category_t.tracker_notification
    | libtorrent.alert.category_t.storage_notification,
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "in_enc_policy": int(libtorrent.enc_policy.disabled),
    "out_enc_policy": int(libtorrent.enc_policy.disabled),
    "allow_multiple_connections_per_ip": True,
    "connection_speed": 500,
    "torrent_connect_boost": 200,
    "unchoke_slots_limit": -1,
}


def open_session(address, port, changes):
    settings = dict(SETTINGS, listen_interfaces=f"{address}:{port}")
    for change in changes:
        name, _, value = change.partition("=")
        settings[name] = int(value)
    return libtorrent.session(settings)


class Alerts:
    """What the session tells; kinds that were not waited for yet are not lost."""

    def __init__(self, session):
        self._session = session
        self._seen = set()

    def wait_for(self, kind):
        """Until there has been such an alert, or our input has ended."""
        while kind not in self._seen and not select.select([sys.stdin], [], [], 0)[0]:
            self._session.wait_for_alert(100)
            for alert in self._session.pop_alerts():
                if isinstance(alert, (libtorrent.torrent_error_alert, libtorrent.file_error_alert)):
                    sys.exit(alert.message())
                self._seen.add(type(alert))


def main():
    path, folder, address, port, *changes = sys.argv[1:]
    session = open_session(address, port, changes)
    print("ready", flush=True)
    if sys.stdin.readline().strip() != "go":
        return
    handle = session.add_torrent({"ti": libtorrent.torrent_info(path), "save_path": folder,
                                  "storage_mode": libtorrent.storage_mode_t.storage_mode_sparse,
                                  "flags": libtorrent.torrent_flags.update_subscribe})  # fmt: skip
    alerts = Alerts(session)
    alerts.wait_for(libtorrent.torrent_finished_alert)
    # Verified is not written yet.
    handle.flush_cache()
    alerts.wait_for(libtorrent.cache_flushed_alert)
    print("done", flush=True)
    if handle.status().total_payload_download == 0:
        alerts.wait_for(libtorrent.tracker_reply_alert)
        print("announced", flush=True)
    for line in sys.stdin:
        if line.strip() == "sent":
            print("sent", handle.status().total_payload_upload, flush=True)


if __name__ == "__main__":
    main()
