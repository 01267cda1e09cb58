"""What docker-compose.yml says, and the same services as processes of this machine."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}|\$(?P<dollar>\$)")
_ANYWHERE = "0.0.0.0"
_LOOPBACK = "127.0.0.1"


class ComposeError(Exception):
    """The compose file says what cannot be read or done here; the message names it."""


@dataclass(frozen=True)
class Port:
    """A port of a container.

    Attributes:
        container: as the service itself sees it.
        published: where it is on the loopback of this machine.
        variable: the environment variable that moves it; empty when none does.
    """

    container: int
    published: int
    variable: str = ""


@dataclass(frozen=True)
class Service:
    """One service of a compose file, its variables filled in.

    Attributes:
        command: entry point and command.
        depends_on: by service, whether it must be healthy first, not only started.
        volumes: by path in the container, a path relative to the file (`./x`) or a volume's name.
        restart: whether one that ends is started again.
        grace_s: time between being asked to stop and being killed.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    ports: tuple[Port, ...]
    depends_on: Mapping[str, bool]
    volumes: Mapping[str, str]
    restart: bool
    grace_s: float


@dataclass(frozen=True)
class Process:
    """A service as a process of this machine.

    Attributes:
        files: what to write before it starts, by path.
        folders: what must exist before it starts.
    """

    service: Service
    argv: tuple[str, ...]
    files: Mapping[Path, str]
    folders: tuple[Path, ...]

    @property
    def name(self) -> str:
        """Of the service."""
        return self.service.name


def read_services(path: Path, variables: Mapping[str, str]) -> list[Service]:
    """The services of a compose file, each after those that it depends on.

    Args:
        path: of the file.
        variables: values of `${NAME:-default}`.

    Raises:
        ComposeError: it uses what is not understood here.
    """
    raw = yaml.safe_load(path.read_text())
    services = {name: _service(name, spec, variables) for name, spec in raw["services"].items()}
    return list(_in_order(services))


def levels(services: list[Service]) -> list[list[Service]]:
    """Services by depth: each depends only on those of earlier levels."""
    depth: dict[str, int] = {}
    for service in services:
        depth[service.name] = 1 + max((depth[name] for name in service.depends_on), default=-1)
    return [
        [service for service in services if depth[service.name] == level]
        for level in range(1 + max(depth.values(), default=-1))
    ]


def as_processes(services: list[Service], root: Path, data: Path) -> list[Process]:
    """The same services without containers.

    Names of services and `0.0.0.0` become 127.0.0.1, ports of containers the published ones,
    volumes folders below `data`; files that are mounted are copied there, translated likewise.

    Args:
        services: in order.
        root: folder of the compose file.
        data: folder for volumes and translated files.
    """
    published = {(s.name, p.container): p.published for s in services for p in s.ports}
    return [_process(service, _Translation(published, service), root, data) for service in services]


class _Translation:
    """From the network of the containers to the loopback, as seen by one service."""

    def __init__(self, published: Mapping[tuple[str, int], int], service: Service) -> None:
        self._published = published
        self._service = service.name
        names = "|".join(sorted({re.escape(name) for name, _ in published}, key=len, reverse=True))
        self._address = re.compile(rf"(?<![\w.-])({names}|{re.escape(_ANYWHERE)}):(\d+)\b")

    def text(self, text: str) -> str:
        """With every address translated."""
        return self._address.sub(self._translated, text).replace(_ANYWHERE, _LOOPBACK)

    def port(self, port: str) -> str:
        """A port of the service itself."""
        return str(self._publish(self._service, int(port)))

    def _translated(self, match: re.Match[str]) -> str:
        name = self._service if match[1] == _ANYWHERE else match[1]
        return f"{_LOOPBACK}:{self._publish(name, int(match[2]))}"

    def _publish(self, name: str, port: int) -> int:
        try:
            return self._published[name, port]
        except KeyError:
            raise ComposeError(
                f"{self._service} uses port {port} of {name}, which is not published; "
                "add it to its ports"
            ) from None


def _process(service: Service, translation: _Translation, root: Path, data: Path) -> Process:
    mounts = {target: _mounted(source, root, data) for target, source in service.volumes.items()}
    used = {t: path for t, path in mounts.items() if any(t in arg for arg in service.command)}
    argv = []
    for before, argument in zip(("", *service.command), service.command, strict=False):
        is_port = before.startswith("--") and before.endswith("port") and argument.isdigit()
        translated = translation.port(argument) if is_port else translation.text(argument)
        argv.append(_with_paths(translated, used))
    sources = {path: root / service.volumes[target] for target, path in used.items()}
    return Process(
        service,
        tuple(argv),
        {
            p: translation.text(source.read_text())
            for p, source in sources.items()
            if source.is_file()
        },
        tuple(path for path, source in sources.items() if not source.is_file()),
    )


def _with_paths(argument: str, mounts: Mapping[str, Path]) -> str:
    for target in sorted(mounts, key=len, reverse=True):
        before, found, after = argument.partition(target)
        if found:  # once: the new path may hold another target
            return f"{before}{mounts[target]}{after}"
    return argument


def _mounted(source: str, root: Path, data: Path) -> Path:
    is_file = source.startswith(".") and (root / source).is_file()
    return data / (Path(source).name if is_file else source)


def _service(name: str, spec: Mapping[str, Any], variables: Mapping[str, str]) -> Service:
    def filled(text: object) -> str:
        return _fill(str(text), variables)

    command = [*_words(name, spec.get("entrypoint", ())), *_words(name, spec.get("command", ()))]
    return Service(
        name=name,
        command=tuple(map(filled, command)),
        environment={key: filled(value) for key, value in spec.get("environment", {}).items()},
        ports=tuple(_port(name, text, variables) for text in spec.get("ports", ())),
        depends_on={
            other: terms["condition"] == "service_healthy"
            for other, terms in spec.get("depends_on", {}).items()
        },
        volumes=dict(_volume(text) for text in spec.get("volumes", ())),
        restart=spec.get("restart", "no") in ("always", "unless-stopped", "on-failure"),
        grace_s=float(str(spec.get("stop_grace_period", "10s")).removesuffix("s")),
    )


def _words(name: str, words: object) -> list[str]:
    if isinstance(words, str):
        raise ComposeError(f"{name}: write its command as a list, one argument per line")
    return [*words]  # type: ignore[misc]  # a list of YAML scalars


def _fill(text: str, variables: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        return match["dollar"] or variables.get(match["name"]) or match["default"] or ""

    return _VARIABLE.sub(value, text)


def _port(name: str, text: str, variables: Mapping[str, str]) -> Port:
    variable = _VARIABLE.search(text)
    match _fill(text, variables).split(":"):
        case [host, published, container] if host == _LOOPBACK:
            return Port(int(container), int(published), variable["name"] if variable else "")
    raise ComposeError(f"{name}: {text} is not published as {_LOOPBACK}:HOST:CONTAINER")


def _volume(text: str) -> tuple[str, str]:
    source, target, *_ = text.split(":")
    return target, source


def _in_order(services: Mapping[str, Service]) -> Iterator[Service]:
    done: set[str] = set()
    while len(done) < len(services):
        ready = [s for s in services.values() if s.name not in done and done >= {*s.depends_on}]
        if not ready:
            raise ComposeError("services depend on each other in a circle, or on unknown ones")
        yield from ready
        done |= {service.name for service in ready}
