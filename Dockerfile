# One image for every service: `tollhouse edge`, `tollhouse ledger`, `tollhouse migrate`, ...
# Plain syntax, which the classic builder and Buildah take too. Where images come from a mirror, or are pinned by digest:
# --build-arg PYTHON_IMAGE=...
ARG PYTHON_IMAGE=python:3.11-slim-trixie

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
# The environment has no pip of its own, so that the image has one thing less in it; that of the base fills it.
RUN python -m venv --without-pip /opt/tollhouse && python -m venv /opt/builder
COPY requirements-image.lock requirements-build.lock ./
# Wheels only, each by its hash: nothing is compiled, and nothing that the lock does not name gets in.
RUN /opt/builder/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps \
        --only-binary :all: --requirement requirements-build.lock \
    && /opt/builder/bin/pip --python /opt/tollhouse/bin/python install --no-cache-dir --disable-pip-version-check \
        --require-hashes --no-deps --only-binary :all: --requirement requirements-image.lock
# After what rarely changes: an edit of the code costs one small layer.
COPY pyproject.toml README.md LICENSE ./
COPY services services
COPY proto/gen proto/gen
RUN /opt/builder/bin/pip wheel --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation \
        --wheel-dir dist . \
    && /opt/builder/bin/pip --python /opt/tollhouse/bin/python install --no-cache-dir --disable-pip-version-check \
        --no-index --no-deps dist/*.whl

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Tollhouse" \
      org.opencontainers.image.licenses="Apache-2.0"
# A number, not a name, so that Kubernetes can see that it is not root. The journal's folder is the user's before a volume
# is mounted there: a new volume takes its owner over.
RUN groupadd --gid 10001 tollhouse \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin tollhouse \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/tollhouse
COPY --from=build /opt/tollhouse /opt/tollhouse
# The root file system may be read-only: bytecode was compiled when the wheels were installed.
ENV PATH=/opt/tollhouse/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1
USER 10001:10001
WORKDIR /
# What the services listen on: edge 8080, console 8090, gRPC 7001 to 7003, operations 8081 to 8084 and 8091.
EXPOSE 8080 8090 7001 7002 7003 8081 8082 8083 8084 8091
ENTRYPOINT ["tollhouse"]
CMD ["--help"]
