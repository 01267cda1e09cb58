"""Options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

Host = Annotated[str | None, typer.Option(help="Address to listen on (127.0.0.1).")]
Port = Annotated[int | None, typer.Option(help="HTTP port; 0 picks a free one (8000).")]
GrpcPort = Annotated[int | None, typer.Option(help="gRPC port; 0 picks a free one (8001).")]
Models = Annotated[Path | None, typer.Option(help="Repository of artifacts (models/artifacts).")]
Load = Annotated[
    str | None, typer.Option(help="Models to serve, separated by commas; all when left out.")
]
Broker = Annotated[str | None, typer.Option(help="Queue: redis://host:port/db.")]
Queue = Annotated[
    str | None, typer.Option(help="Prefix of the keys in Redis, to share one (certisolve).")
]
Name = Annotated[
    str | None, typer.Option(help="Of this process in its fleet; host and process id if left out.")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda:N (auto).")]
NumThreads = Annotated[
    int | None, typer.Option(help="Compute threads of the CPU; 0 lets torch choose (0).")
]
MaxBodyBytes = Annotated[int | None, typer.Option(help="Most bytes of one request (268435456).")]
MaxWaitS = Annotated[
    float | None,
    typer.Option(help="Seconds after which a solve without a deadline becomes a job (300)."),
]
MaxQueuedRequests = Annotated[
    int | None, typer.Option(help="Most requests waiting or running before 429 (4096).")
]
MaxCertifyS = Annotated[
    float | None, typer.Option(help="Longest search for a certificate, in seconds (600).")
]
CertifyConcurrency = Annotated[
    int | None,
    typer.Option(help="Certifications at a time, each in a process of its own; 0 for none (1)."),
]
LeaseS = Annotated[
    float | None,
    typer.Option(help="Seconds of silence after which a worker's jobs go to others (15)."),
]
MaxDeliveries = Annotated[
    int | None,
    typer.Option(help="Deaths of workers under a job before it is put aside (5)."),
]
DrainS = Annotated[
    float | None, typer.Option(help="Longest time to finish what is on the device at stop (25).")
]
Advertise = Annotated[
    str | None, typer.Option(help="host:port at which others reach this worker's gRPC.")
]
LogLevel = Annotated[str | None, typer.Option(help="debug, info, warning or error (info).")]
LogFormat = Annotated[str | None, typer.Option(help="text, or json: one object per line (text).")]
OtlpEndpoint = Annotated[
    str | None, typer.Option(help="Where traces go, http://host:4318; none when left out.")
]
AllowRemote = Annotated[
    bool | None,
    typer.Option("--allow-remote", help="Listen beyond loopback, unauthenticated (off)."),
]
