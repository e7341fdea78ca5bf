#!/bin/sh
# The network of compose.yaml: its authority, a key and a certificate for each peer named, an operator. What is
# there already stays. On one host all of it lies on one disk anyway; hosts that do not trust each other make
# their own keys (deploy/README.md).
set -eu
umask 077
network=/authority/network
owner=10001:10001 # of the image's user

[ -e "$network/ca.key" ] || peerctl network create "$network" --name compose
for name in "$@"; do
    state=/peers/$name
    if [ ! -e "$state/bundle.json" ]; then
        [ -e "$state/identity.json" ] || peerd init --state-dir "$state" --name "$name" --address "$name:9101"
        peerctl network sign "$network" "$state/request.json"
        peerd join --state-dir "$state" "$network/bundles/$name.bundle"
    fi
    chmod 0700 "$state"
    chown -R "$owner" "$state"
done

export PEERCTL_CONTEXTS=/operator/contexts.toml
[ -e /operator/ops.key ] || peerctl network operator "$network" ops --role admin --out /operator
for name in "$@"; do
    grep -qs "^\[endpoints.$name\]" "$PEERCTL_CONTEXTS" ||
        peerctl context add "$name" --address "$name:9102" --operator /operator/ops.pem
done
chmod 0700 /operator
chown -R "$owner" /operator
