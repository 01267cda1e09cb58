"""Asks a server again and again whether it lives, from a process that does nothing else.

    python liveness.py http://127.0.0.1:8000/health/live SECONDS

Prints one line of JSON: the seconds that each answer took, over one connection.
"""

import http.client
import json
import sys
import time
from urllib.parse import urlsplit

_INTERVAL_S = 0.02


def main() -> None:
    """Ask, then print."""
    url, duration_s = urlsplit(sys.argv[1]), float(sys.argv[2])
    connection = http.client.HTTPConnection(url.netloc, timeout=10)
    took_s = []
    give_up_at = time.perf_counter() + duration_s
    while time.perf_counter() < give_up_at:
        asked_at = time.perf_counter()
        connection.request("GET", url.path)
        reply = connection.getresponse()
        reply.read()
        took_s.append(time.perf_counter() - asked_at)
        assert reply.status == 200, reply.status
        time.sleep(_INTERVAL_S)
    print(json.dumps(took_s))  # noqa: T201


if __name__ == "__main__":
    main()
