"""certisolve serve: gateway, queue and one worker in one process."""

from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .banner import print_banner
from .console import messages
from .process import LoadingBar, calm_compute_threads, run, settings_or_fail

if TYPE_CHECKING:
    from certisolve_server.processes.embedded import Ready


def serve(
    host: options.Host = None,
    port: options.Port = None,
    grpc_port: options.GrpcPort = None,
    models: options.Models = None,
    load: options.Load = None,
    broker: Annotated[str | None, typer.Option(help="Queue: memory:// alone, here.")] = None,
    device: options.Device = None,
    num_threads: options.NumThreads = None,
    max_body_bytes: options.MaxBodyBytes = None,
    max_wait_s: options.MaxWaitS = None,
    max_queued_requests: options.MaxQueuedRequests = None,
    max_certify_s: options.MaxCertifyS = None,
    certify_concurrency: options.CertifyConcurrency = None,
    log_level: options.LogLevel = None,
    log_format: options.LogFormat = None,
    otlp_endpoint: options.OtlpEndpoint = None,
    allow_remote: options.AllowRemote = None,
) -> None:
    """Serve every model of a repository over HTTP and gRPC, in one process.

    Each option is also an environment variable, CERTISOLVE_PORT for --port.
    """
    settings = settings_or_fail(**locals())
    calm_compute_threads()
    console = messages()
    with console.status("starting torch"):
        from certisolve_server.processes.embedded import serve as serve_embedded

    bar = LoadingBar(console)
    with bar:

        def on_ready(ready: "Ready") -> None:
            bar.stop()
            print_banner(ready, console)

        run(settings, serve_embedded(settings, on_progress=bar.show, on_ready=on_ready))
