# The service as an image: docker build -t trio-logs .
# docs/howto/container.md says how to run it.

ARG PYTHON=docker.io/library/python:3.13-slim

FROM ${PYTHON} AS build
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY trio_logs trio_logs
# With the driver for PostgreSQL, so that the container can be one of several nodes.
RUN python3 -m venv --without-pip /opt/trio-logs \
 && pip --python /opt/trio-logs install --no-cache-dir -c constraints.txt '.[postgres]'

FROM ${PYTHON}
# As process 1, tini reaps orphans of workloads and passes signals on. So no engine needs `--init`.
RUN apt-get update \
 && apt-get install -y --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/trio-logs /opt/trio-logs
# Some platforms run each container as a random user of group 0, so the group can write, too.
RUN mkdir -m 770 /data /home/trio-logs && chown 10001:0 /data /home/trio-logs
# Docker kills a container 10 s after TERM. Workloads get 5 s of them, and the rest stores the ends.
ENV PATH=/opt/trio-logs/bin:$PATH \
    HOME=/home/trio-logs \
    TRIO_LOGS_DATA=/data \
    TRIO_LOGS_BIND=0.0.0.0:8000 \
    TRIO_LOGS_GRACE=5 \
    TRIO_LOGS_LOG_FORMAT=json
USER 10001:0
WORKDIR /home/trio-logs
VOLUME /data
EXPOSE 8000
# Not urllib, which would ask a proxy that the environment names.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["python3", "-c", "\
from http.client import HTTPConnection\n\
service = HTTPConnection('127.0.0.1', 8000, timeout=5)\n\
service.request('GET', '/healthz')\n\
exit(service.getresponse().status != 200)"]
ENTRYPOINT ["tini", "--", "trio-logs"]
CMD ["serve"]
