"""An nginx with a configuration of its own, for a folder's files."""

import os
import signal

from process import Process

CONFIG = """\
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
worker_processes auto;
{user}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_requests 1000000;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    server {{
        listen {address}:{port};
        root {root};
        location = / {{ return 200 ready; }}
    }}
}}
"""


def start(folder, root, address, port, host=None):
    """It serves a moment later: ask it for / first."""
    user = "user root;" if os.geteuid() == 0 else ""  # the folder is for its owner alone
    path = folder / "nginx.conf"
    path.write_text(CONFIG.format(folder=folder, root=root, address=address, port=port, user=user))
    words = ["nginx", "-p", folder, "-e", "stderr", "-c", path]
    # SIGTERM: the master takes its workers along.
    return Process(words, folder, "nginx", host=host, death_signal=signal.SIGTERM)
