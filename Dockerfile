# The full image, with what training needs:   docker build -t peerd .
# A relay without torch, which takes no part in runs:   docker build --target relay -t peerd-relay .
#
# PyPI's torch for x86-64 brings gigabytes of CUDA. For a CPU wheel name an index or folder that has one:
#     --build-arg PEERD_PIP_ARGS="--extra-index-url URL"
# (no password in it: build arguments are kept in the build's cache and its provenance, though not in the image).
# A base that stays what it is:   --build-arg PYTHON=3.11-slim-bookworm@sha256:...
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS names
WORKDIR /src
COPY pyproject.toml requirements.lock ./
# What peerd depends on, so that nothing but a change of it builds petlib and installs torch again.
RUN python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
        print(*p["dependencies"], sep="\n", file=open("relay.txt", "w")); \
        print(*p["optional-dependencies"]["train"], sep="\n", file=open("train.txt", "w"))'

FROM python:${PYTHON} AS builder
# sphinxmix's petlib is built from source: a C compiler, C and OpenSSL headers.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev libssl-dev \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/peerd
ENV PATH=/opt/peerd/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY --from=names /src/requirements.lock /src/relay.txt ./
ARG PEERD_PIP_ARGS=""
# hadolint ignore=DL3042,SC2086
RUN pip install --quiet ${PEERD_PIP_ARGS} -c requirements.lock -r relay.txt

FROM python:${PYTHON} AS wheel
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
ARG PEERD_PIP_ARGS=""
COPY pyproject.toml README.md LICENSE hatch_build.py ./
COPY proto proto
COPY peerd peerd
COPY ctl ctl
# hadolint ignore=SC2086
RUN pip wheel --quiet ${PEERD_PIP_ARGS} --no-deps -w /wheels .

# peerd itself is a layer of its own, on that of what it depends on: a new version is a few megabytes to fetch.
FROM builder AS house
COPY --from=wheel /wheels /wheels
RUN pip install --quiet --no-deps --prefix /house /wheels/*.whl

FROM builder AS relay-venv
RUN pip uninstall --quiet --yes setuptools pip

FROM builder AS full-venv
COPY --from=names /src/train.txt ./
# Tests and headers are a fifth of it, and nobody compiles against torch here. numpy.testing needs numpy's.
# hadolint ignore=DL3003,DL3042,SC2086
RUN pip install --quiet ${PEERD_PIP_ARGS} -c requirements.lock -r train.txt \
    && pip uninstall --quiet --yes setuptools pip \
    && cd /opt/peerd/lib/python3*/site-packages \
    && rm -rf torch/test torch/include torch/bin/test_* \
    && find networkx scipy sklearn sympy -type d -name tests -prune -exec rm -rf {} +

FROM python:${PYTHON} AS runtime
LABEL org.opencontainers.image.title=peerd \
    org.opencontainers.image.description="A peer daemon with which hosts train a model together over a mix network" \
    org.opencontainers.image.licenses=MIT
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 peerd \
    && useradd --uid 10001 --gid peerd --no-create-home --home-dir /var/lib/peerd --shell /usr/sbin/nologin peerd \
    && install -d -o peerd -g peerd -m 0700 /var/lib/peerd \
    && install -d /etc/peerd
# `docker exec PEER peerctl status` asks the peer of its own container.
RUN printf '[endpoints.here]\naddress = "unix:/var/lib/peerd/control.sock"\n' > /etc/peerd/contexts.toml
ENV PATH=/opt/peerd/bin:$PATH PEERCTL_CONTEXTS=/etc/peerd/contexts.toml PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/peerd
VOLUME /var/lib/peerd
EXPOSE 9101 9102 9103
HEALTHCHECK --interval=15s --timeout=10s --start-period=120s --retries=3 \
    CMD ["peerd-probe", "/var/lib/peerd/control.sock"]
ENTRYPOINT ["tini", "--"]
CMD ["peerd", "run", "--state-dir", "/var/lib/peerd"]

FROM runtime AS relay
COPY --from=relay-venv /opt/peerd /opt/peerd
COPY --from=house /house /opt/peerd

FROM runtime AS full
COPY --from=full-venv /opt/peerd /opt/peerd
COPY --from=house /house /opt/peerd
