# One target a role: etcd, balancer, registry, node, component (all of them but the proxy and the gateway), proxy, gateway.
# Wheels and CA certificates in deploy/image/ are used where scripts/images.sh has put them there;
# without them, pip asks its index and the base image's certificates are trusted.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS base
ENV DEBIAN_FRONTEND=noninteractive
# apt's own cache is twice the size of what is installed.
RUN printf 'Dir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\nBinary::apt::APT::Keep-Downloaded-Packages "false";\n' \
        >/etc/apt/apt.conf.d/90-no-cache \
    && apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends ca-certificates >/dev/null \
    && apt-get clean && rm -rf /var/lib/apt/lists/*
COPY deploy/image/certificates/ /usr/local/share/ca-certificates/
RUN update-ca-certificates --fresh >/dev/null
LABEL org.opencontainers.image.title=knarr

FROM base AS etcd
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends etcd-server etcd-client >/dev/null \
    && apt-get clean && rm -rf /var/lib/apt/lists/*
COPY deploy/healthcheck.sh /usr/local/bin/knarr-healthcheck
COPY deploy/etcd-member.sh /usr/local/bin/knarr-etcd
USER etcd
ENV ETCDCTL_API=3 ETCDCTL_CACERT=/etc/knarr/ca.crt ETCDCTL_CERT=/etc/knarr/server.crt ETCDCTL_KEY=/etc/knarr/server.key
ENTRYPOINT ["knarr-etcd"]

FROM base AS balancer
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends haproxy >/dev/null \
    && apt-get clean && rm -rf /var/lib/apt/lists/*
COPY deploy/healthcheck.sh /usr/local/bin/knarr-healthcheck
COPY deploy/haproxy.cfg /etc/haproxy/haproxy.cfg
USER haproxy
ENTRYPOINT ["haproxy", "-W", "-f", "/etc/haproxy/haproxy.cfg"]

FROM base AS registry
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends docker-registry >/dev/null \
    && apt-get clean && rm -rf /var/lib/apt/lists/*
COPY deploy/registry.yml /etc/docker/registry/config.yml
VOLUME /var/lib/registry
ENTRYPOINT ["docker-registry"]
CMD ["serve", "/etc/docker/registry/config.yml"]

FROM base AS node
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends docker.io iproute2 >/dev/null \
    && apt-get clean && rm -rf /var/lib/apt/lists/*
COPY deploy/healthcheck.sh /usr/local/bin/knarr-healthcheck
COPY deploy/node-cgroups.sh /usr/local/bin/knarr-cgroups
COPY deploy/node-entrypoint.sh /usr/local/bin/knarr-node
ENTRYPOINT ["knarr-node"]

FROM base AS python
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends python3 >/dev/null \
    && apt-get clean && rm -rf /var/lib/apt/lists/*

FROM python AS packages
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends python3-venv >/dev/null \
    && apt-get clean && rm -rf /var/lib/apt/lists/*
COPY requirements.in requirements.lock deploy/image/wheels/ /wheels/
RUN python3 -m venv --without-pip /opt/knarr \
    && python3 -m venv /pip \
    && if ls /wheels/*.whl >/dev/null 2>&1; then from="--no-index --find-links /wheels"; fi \
    && /pip/bin/pip --python /opt/knarr/bin/python install --no-cache-dir --disable-pip-version-check --quiet \
        $from -r /wheels/requirements.in -c /wheels/requirements.lock

FROM python AS proxy-base
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends nftables >/dev/null \
    && apt-get clean && rm -rf /var/lib/apt/lists/*

FROM python AS gateway-base
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends haproxy >/dev/null \
    && apt-get clean && rm -rf /var/lib/apt/lists/*

FROM python AS component
ENV PATH=/opt/knarr/bin:$PATH PYTHONPATH=/opt/knarr/app PYTHONUNBUFFERED=1
WORKDIR /opt/knarr/app
COPY --from=packages /opt/knarr /opt/knarr
COPY deploy/healthcheck.sh /usr/local/bin/knarr-healthcheck
COPY knarr knarr
COPY services services
RUN python -m compileall -q knarr services
ENTRYPOINT ["python", "-m"]

FROM proxy-base AS proxy
ENV PATH=/opt/knarr/bin:$PATH PYTHONPATH=/opt/knarr/app PYTHONUNBUFFERED=1
WORKDIR /opt/knarr/app
COPY --from=component /opt/knarr /opt/knarr
COPY deploy/healthcheck.sh /usr/local/bin/knarr-healthcheck
ENTRYPOINT ["python", "-m"]

FROM gateway-base AS gateway
ENV PATH=/opt/knarr/bin:$PATH PYTHONPATH=/opt/knarr/app PYTHONUNBUFFERED=1
WORKDIR /opt/knarr/app
COPY --from=component /opt/knarr /opt/knarr
COPY deploy/healthcheck.sh /usr/local/bin/knarr-healthcheck
ENTRYPOINT ["python", "-m"]
