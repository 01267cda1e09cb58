"""certisolve worker: one device behind a queue."""

from typing import TYPE_CHECKING

from . import options
from .banner import print_banner
from .console import messages
from .process import LoadingBar, calm_compute_threads, run, settings_or_fail

if TYPE_CHECKING:
    from certisolve_server.processes.embedded import Ready


def worker(
    host: options.Host = None,
    port: options.Port = None,
    grpc_port: options.GrpcPort = None,
    models: options.Models = None,
    load: options.Load = None,
    broker: options.Broker = None,
    queue: options.Queue = None,
    name: options.Name = None,
    advertise: options.Advertise = None,
    device: options.Device = None,
    num_threads: options.NumThreads = None,
    max_body_bytes: options.MaxBodyBytes = None,
    max_queued_requests: options.MaxQueuedRequests = None,
    max_certify_s: options.MaxCertifyS = None,
    certify_concurrency: options.CertifyConcurrency = None,
    lease_s: options.LeaseS = None,
    max_deliveries: options.MaxDeliveries = None,
    drain_s: options.DrainS = None,
    log_level: options.LogLevel = None,
    log_format: options.LogFormat = None,
    otlp_endpoint: options.OtlpEndpoint = None,
    allow_remote: options.AllowRemote = None,
) -> None:
    """Run models on one device for a queue in Redis, and for whoever calls this process directly.

    On SIGTERM it takes no more jobs, finishes those on the device and hands the others back. Each
    option is also an environment variable, CERTISOLVE_BROKER for --broker; bounds, --lease-s and
    --max-deliveries must be the same in every process of a queue.
    """
    settings = settings_or_fail(**locals())
    calm_compute_threads()
    console = messages()
    with console.status("starting torch"):
        from certisolve_server.processes.worker import serve

    bar = LoadingBar(console)
    with bar:

        def on_ready(ready: "Ready") -> None:
            bar.stop()
            print_banner(ready, console)

        run(settings, serve(settings, on_progress=bar.show, on_ready=on_ready))
