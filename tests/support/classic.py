"""A Python classic server for tests: rpyc's own `rpyc_classic`, and what it has no options for.

    classic.py               rpyc_classic on a free TCP port; prints "READY <port>"
    classic.py --ssl CERTIFICATE KEY   the same over TLS
    classic.py --unix PATH   a ThreadedServer of SlaveService on a unix socket; prints "READY <path>"
    classic.py --stdio       rpyc_classic in its mode for pipes; its first frame is its own
"""

import logging
import sys

from rpyc.cli.rpyc_classic import main
from rpyc.core.service import SlaveService
from rpyc.utils.server import ThreadedServer


class Ready(logging.Handler):
    """Turns the line in which a server logs where it listens into ours."""

    def emit(self, record):
        text = record.getMessage()
        if text.startswith("server started on"):
            print("READY", text.rpartition(":")[2], flush=True)


if "--unix" in sys.argv:
    path = sys.argv[2]
    server = ThreadedServer(SlaveService, socket_path=path)
    server._listen()  # so that READY is true
    print("READY", path, flush=True)
    server.start()
elif "--stdio" in sys.argv:
    sys.argv = ["rpyc_classic.py", "-q", "-m", "stdio"]
    main()
else:
    logging.basicConfig(handlers=[Ready()], level=logging.INFO)
    options = ["--ssl-certfile", sys.argv[2], "--ssl-keyfile", sys.argv[3]] if "--ssl" in sys.argv else []
    sys.argv = ["rpyc_classic.py", "--port", "0", *options]
    main()
