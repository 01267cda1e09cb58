# syntax=docker/dockerfile:1
# Targets: gateway (no torch) and worker (EXTRA=cpu or gpu, with the bundled models).
# The CPU build of torch has an index of its own: name it in PIP_EXTRA_INDEX_URL, or PyPI's build
# with its GPU libraries is installed.
ARG PYTHON_VERSION=3.11.14

FROM python:${PYTHON_VERSION}-slim-bookworm AS build-gateway
ARG PIP_EXTRA_INDEX_URL=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/certisolve
ENV PATH=/opt/certisolve/bin:$PATH
WORKDIR /src
COPY LICENSE README.md constraints.txt pyproject.toml ./
COPY client client
COPY service service
COPY models/certisolve_export models/certisolve_export
COPY models/certisolve_zoo models/certisolve_zoo
RUN pip install --no-cache-dir -c constraints.txt ./client '.[otel]'

FROM build-gateway AS build-worker
ARG EXTRA=cpu
RUN pip install --no-cache-dir -c constraints.txt ".[${EXTRA}]"
COPY models/weights models/weights
RUN python -m certisolve_zoo build --weights models/weights --out /app/models/artifacts

FROM python:${PYTHON_VERSION}-slim-bookworm AS runtime
RUN groupadd --gid 10001 certisolve \
    && useradd --uid 10001 --gid certisolve --home-dir /tmp --no-create-home certisolve
ENV PATH=/opt/certisolve/bin:$PATH \
    PYTHONUNBUFFERED=1
WORKDIR /app
USER 10001:10001
EXPOSE 8000 8001
HEALTHCHECK --interval=5s --timeout=4s --start-period=120s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health/ready', timeout=3)"]

FROM runtime AS gateway
COPY --from=build-gateway /opt/certisolve /opt/certisolve
CMD ["certisolve", "gateway", "--host", "0.0.0.0", "--allow-remote"]

FROM runtime AS worker
COPY --from=build-worker /opt/certisolve /opt/certisolve
COPY --from=build-worker /app/models/artifacts models/artifacts
CMD ["certisolve", "worker", "--host", "0.0.0.0", "--allow-remote"]
