#!/usr/bin/env bash
# The walk-through of deploy/README.md, in a Docker engine that has the images: prints each command and what it
# says, and fails where something is not as it should be. Run by tests/lab/test_compose.py.
set -euo pipefail
cd "$(dirname "$0")/../../../deploy/compose"
finish() {
    local rc=$?
    [ $rc = 0 ] || docker compose logs --no-color --tail 20
    docker compose down -v -t 30 >/dev/null 2>&1
    exit $rc
}
trap finish EXIT

show() { printf '\n$ %s\n' "$*"; "$@"; }
fail() { printf 'walk.sh: %s\n' "$*" >&2; exit 1; }
# until SECONDS COMMAND...: another process has no event to wait for
until_true() {
    local ends=$((SECONDS + $1)); shift
    until "$@"; do
        [ $SECONDS -lt $ends ] || fail "not within its time: $*"
        sleep 1
    done
}
query() { docker compose exec -T prometheus promtool query instant http://localhost:9090 "$1"; }
alerts() { docker compose exec -T alertmanager amtool --alertmanager.url=http://localhost:9093 alert query; }
peers_up() { [ "$(query 'sum(up{job="peerd"})' | awk '{print $3}')" = "$1" ]; }
fires() { alerts | grep -q "^PeerDown .*$1"; }
silent() { ! alerts | tail -n +2 | grep -q .; }
sees() { docker compose exec -T "$1" peerctl peers | grep -qE "^$2 .*$3"; }
finished() { docker compose exec -T "$1" peerctl run show | grep -q finished; }
state() { docker inspect -f "$1" "$(docker compose ps -aq "$2")"; }

show docker compose up -d --wait --wait-timeout 900 --no-build
show docker compose ps --format 'table {{.Service}}\t{{.Status}}'
show docker compose run --rm -T peerctl --all status
show docker compose run --rm -T peerctl --all run start --rounds 5 --wait
docker compose run --rm -T peerctl --all run show --output json >/tmp/walk-run.json
python3 - <<'PY'
import json
runs = json.load(open("/tmp/walk-run.json"))
assert len(runs) == 6, runs.keys()
for name, run in runs.items():
    assert run["state"] == "finished", (name, run["state"])
    assert run["results"][-1]["accuracy"] > 0.9, (name, run["results"][-1])
PY
until_true 60 peers_up 6
show query 'up{job="peerd"}'
show query 'peerd_round'
show query 'ALERTS{alertstate="firing"}'
show alerts
silent || fail 'an alert fires though nothing is wrong'

# What the containers may do.
docker compose exec -T alice grep -q '^[^ ]* / [^ ]* ro,' /proc/mounts || fail 'the root file system can be written'
docker compose exec -T alice ls /authority /peers /operator >/dev/null 2>&1 && fail 'a peer sees what is not its own'
[ "$(docker compose exec -T alice stat -c '%a %u' /var/lib/peerd/identity.json)" = '600 10001' ] || fail 'identity.json'
[ "$(docker compose exec -T alice sh -c 'grep -c CapEff:.0000000000000000 /proc/1/status')" = 1 ] || fail 'capabilities'

show docker compose kill frank
until_true 180 fires frank
show query 'ALERTS{alertstate="firing"}'
show alerts
show docker compose exec -T alice peerctl peers

show docker compose up -d --wait --wait-timeout 120 --no-build frank
until_true 120 peers_up 6
until_true 600 silent
show docker compose exec -T alice peerctl peers
show alerts

# A host that relays and cannot train.
show env PEERD_IMAGE="$PEERD_RELAY_IMAGE" docker compose up -d --no-deps --no-build --wait --wait-timeout 120 erin
until_true 60 sees alice erin alive
show docker compose run --rm -T peerctl --all run start --rounds 3 --timeout 30s && fail 'a relay without torch trains'
until_true 120 finished alice
show docker compose exec -T erin peerctl status

began=$SECONDS
show docker compose stop bob
echo "(took $((SECONDS - began)) s; exit code $(state '{{.State.ExitCode}}' bob))"
[ "$(state '{{.State.ExitCode}}' bob)" = 0 ] || fail 'bob did not end by itself'
sees alice bob left || fail 'bob did not take its leave'
docker compose logs --no-log-prefix --no-color bob | grep -q '"peer is down"' || fail 'bob did not end in order'
echo 'walk.sh: all is well'
