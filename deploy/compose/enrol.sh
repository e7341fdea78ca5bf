#!/bin/sh
# The network of compose.yaml: its authority, a key and a certificate for each peer named, an operator. What is
# there already stays. On one host all of it lies on one disk anyway; hosts that do not trust each other make
# their own keys (deploy/README.md).
set -eu
umask 077
network=/authority/network
owner=10001:10001 # of the image's user

[ -e "$network/ca.key" ] || peerctl network create "$network" --name compose
requests=
for name in "$@"; do
    state=/peers/$name
    [ -e "$state/identity.json" ] || peerd init --state-dir "$state" --name "$name" --address "$name:9101"
    [ -e "$network/bundles/$name.bundle" ] || requests="$requests $state/request.json"
done
# shellcheck disable=SC2086  # a list of files without blanks in their names
[ -z "$requests" ] || peerctl network enroll "$network" $requests
for name in "$@"; do
    state=/peers/$name
    [ -e "$state/bundle.json" ] || peerd join --state-dir "$state" "$network/bundles/$name.bundle"
    chmod 0700 "$state"
    chown -R "$owner" "$state"
done

[ -e /operator/ops.key ] || peerctl network operator "$network" ops --role admin --out /operator
for name in "$@"; do
    printf '[endpoints.%s]\naddress = "%s:9102"\nca = "ca.pem"\ncert = "ops.pem"\nkey = "ops.key"\n\n' "$name" "$name"
done >/operator/contexts.toml
chmod 0700 /operator
chown -R "$owner" /operator
