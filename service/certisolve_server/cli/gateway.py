"""certisolve gateway: HTTP and gRPC in front of a queue."""

from typing import TYPE_CHECKING

from . import options
from .console import messages
from .process import run, settings_or_fail

if TYPE_CHECKING:
    from certisolve_server.doors import Addresses


def gateway(
    host: options.Host = None,
    port: options.Port = None,
    grpc_port: options.GrpcPort = None,
    broker: options.Broker = None,
    queue: options.Queue = None,
    name: options.Name = None,
    max_body_bytes: options.MaxBodyBytes = None,
    max_wait_s: options.MaxWaitS = None,
    max_queued_requests: options.MaxQueuedRequests = None,
    max_certify_s: options.MaxCertifyS = None,
    lease_s: options.LeaseS = None,
    max_deliveries: options.MaxDeliveries = None,
    log_level: options.LogLevel = None,
    log_format: options.LogFormat = None,
    otlp_endpoint: options.OtlpEndpoint = None,
    allow_remote: options.AllowRemote = None,
) -> None:
    """Take requests over HTTP and gRPC into a queue in Redis, for workers to answer.

    Needs neither torch nor models: it learns from the workers what they serve. Any number of
    gateways may share a queue. Each option is also an environment variable, CERTISOLVE_BROKER for
    --broker; bounds, --lease-s and --max-deliveries must be the same in every process of a queue.
    """
    settings = settings_or_fail(**locals())
    console = messages()
    from certisolve_server.processes.gateway import serve

    def on_ready(addresses: "Addresses") -> None:
        url = addresses.http
        console.print(f"\n[bold green]certisolve[/] gateway to {settings.queue}")
        console.print(f"  HTTP   {url}   (interface: {url}/docs)")
        console.print(f"  gRPC   {addresses.grpc}")
        console.print(f"  Try    curl {url}/v1/models", soft_wrap=True)

    run(settings, serve(settings, on_ready=on_ready))
