# The controller. `docker compose up` builds and starts it with everything it needs.
ARG BASE_IMAGE=debian:bookworm-slim
FROM ${BASE_IMAGE}
# Empty unless given: where pip finds packages instead of its default index.
ARG PIP_INDEX_URL=
ARG PIP_FIND_LINKS=
ARG PIP_NO_INDEX=
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv ca-certificates >/dev/null \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /opt/airlock
COPY requirements/run.txt /build/
RUN /opt/airlock/bin/pip install -q --no-cache-dir --require-hashes -r /build/run.txt
COPY pyproject.toml README.md LICENSE /build/airlock/
COPY controller /build/airlock/controller
RUN /opt/airlock/bin/pip install -q --no-cache-dir --no-deps --no-build-isolation /build/airlock \
 && rm -r /build
ENV PATH=/opt/airlock/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 AIRLOCK_HOST=0.0.0.0
EXPOSE 8750
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8750/readyz', timeout=4)"]
CMD ["airlock", "serve"]
