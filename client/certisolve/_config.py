"""Named defaults; each can be overridden by an argument of `Client`, a call or a transport."""

#: Seconds one call may take in all, retries and waits between them included.
DEFAULT_TIMEOUT_S = 60.0
#: Seconds to establish a connection, of the call's total.
CONNECT_TIMEOUT_S = 5.0
#: Connections an HTTP client may hold open at once, all of them kept alive between calls. Further
#: calls wait for one, within their time.
MAX_CONNECTIONS = 100
#: Port of a `grpc://` URL that names none: the server's default.
DEFAULT_GRPC_PORT = 8001
#: Port of a `grpcs://` URL that names none: where TLS proxies listen.
DEFAULT_GRPCS_PORT = 443
#: Seconds one poll asks the server to wait for a job; servers cap it at 30.
JOB_POLL_S = 20.0
#: Shortest time between two polls, should a server or a proxy answer at once.
JOB_POLL_INTERVAL_S = 0.1
