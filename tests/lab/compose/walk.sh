#!/usr/bin/env bash
# The walk-through of deploy/README.md, in a Docker engine that has the images: prints each command and what it
# says, and fails where something is not as it should be. Run by tests/lab/test_compose.py.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../../../deploy/compose"
seen=$(mktemp)
clean_up() {
    local rc=$?
    rm -f "$seen"
    [ $rc = 0 ] || docker compose logs --no-color --tail 20
    docker compose down -v -t 30 >/dev/null 2>&1
    exit $rc
}
trap clean_up EXIT

peers=(alice bob carol dora erin frank)
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
watched() { "${PYTHON:-python3}" "$here/watched.py" "$@"; }
query() { docker compose exec -T prometheus promtool query instant http://localhost:9090 "$1"; }
alerts() { docker compose exec -T alertmanager amtool --alertmanager.url=http://localhost:9093 alert query; }
peers_up() { [ "$(query 'sum(up{job="peerd"})' | awk '{print $3}')" = "$1" ]; }
fires() { alerts | grep -q "^PeerDown .*$1"; }
silent() { ! alerts | tail -n +2 | grep -q .; }
sees() { docker compose exec -T "$1" peerctl peers | grep -qE "^$2 .*$3"; }
in_run() { # NUMBER of scrapes in which all six were in a running run
    local least
    least=$(query 'min(count_over_time((sum(peerd_run_state{state="running"}) == 6)[30m:10s]))' | awk '{print $3}')
    [ "${least:-0}" -ge "$1" ]
}
healthy() { [ "$(state '{{.State.Health.Status}}' "$1")" = healthy ]; }
finished() { docker compose exec -T "$1" peerctl run show | grep -q finished; }
state() { docker inspect -f "$1" "$(docker compose ps -aq "$2")"; }

show docker compose up -d --wait --wait-timeout 900 --no-build
show docker compose ps --format 'table {{.Service}}\t{{.Status}}'
show docker compose run --rm -T peerctl --all status
show docker compose run --rm -T peerctl --all run start --rounds 5 --wait
docker compose run --rm -T peerctl --all run show --output json >"$seen"
python3 - "$seen" <<'PY'
import json, sys
runs = json.load(open(sys.argv[1]))
assert len(runs) == 6, runs.keys()
for name, run in runs.items():
    assert run["state"] == "finished", (name, run["state"])
    assert run["results"][-1]["accuracy"] > 0.9, (name, run["results"][-1])
PY
until_true 180 peers_up 6
show query 'up{job="peerd"}'
show query 'peerd_round'
show query 'ALERTS{alertstate="firing"}'
show alerts
silent || fail 'an alert fires though nothing is wrong'

# What Prometheus has, and three minutes of a run without an alert of any severity.
until_true 180 watched rules
until_true 180 watched targets "${peers[@]}"
docker compose run --rm -T peerctl --all run start --rounds 10000 >/dev/null
until_true 600 in_run 18
docker compose run --rm -T peerctl --all run stop >/dev/null
until_true 180 watched pending
watched alerts || fail 'an alert has fired though nothing is wrong'

# What the containers may do, and how they are asked whether they are well.
for name in "${peers[@]}" prometheus alertmanager; do
    docker compose exec -T "$name" grep -q '^[^ ]* / [^ ]* ro,' /proc/mounts || fail "$name: its root file system can be written"
    docker compose exec -T "$name" grep -qE '^Uid:[[:space:]]+[1-9]' /proc/1/status || fail "$name runs as root"
    docker compose exec -T "$name" grep -q '^CapEff:[[:space:]]*0000000000000000$' /proc/1/status || fail "$name has capabilities"
    docker compose exec -T "$name" grep -q '^NoNewPrivs:[[:space:]]*1$' /proc/1/status || fail "$name may get privileges"
    until_true 300 healthy "$name"
done
for name in "${peers[@]}"; do
    [ "$(docker compose exec -T "$name" id -u)" = 10001 ] || fail "$name is another user"
    [ "$(state '{{index .Config.Healthcheck.Test 1}}' "$name")" = peerd-probe ] || fail "$name has another health check"
    state '{{range .State.Health.Log}}{{.ExitCode}} {{println .Output}}{{end}}' "$name" | grep -qx '0 serving' || fail "$name: what does its probe say?"
done
docker compose exec -T alice ls /authority /peers /operator >/dev/null 2>&1 && fail 'a peer sees what is not its own'
[ "$(docker compose exec -T alice stat -c '%a %u' /var/lib/peerd/identity.json)" = '600 10001' ] || fail 'identity.json'
GRAFANA_IMAGE=$PEERD_RELAY_IMAGE docker compose run --rm -T --no-deps --entrypoint find grafana \
    /etc/grafana/provisioning /var/lib/grafana/dashboards -type f -readable >"$seen"  # no Grafana: who reads its mounts
for file in provisioning/datasources/prometheus.yml provisioning/dashboards/peerd.yml dashboards/peerd-{network,peer,mixing,training}.json; do
    grep -q "grafana/$file\$" "$seen" || fail "Grafana would not see $file"
done

show docker compose kill frank
until_true 300 fires frank
watched alerts PeerDown:frank || fail 'another alert than that of frank has fired'
show query 'ALERTS{alertstate="firing"}'
show alerts
show docker compose exec -T alice peerctl peers

show docker compose up -d --wait --wait-timeout 300 --no-build frank
until_true 300 peers_up 6
until_true 600 silent
show docker compose exec -T alice peerctl peers
show alerts

# A host that relays and cannot train.
show env PEERD_IMAGE="$PEERD_RELAY_IMAGE" docker compose up -d --no-deps --no-build --wait --wait-timeout 300 erin
until_true 180 sees alice erin alive
show docker compose run --rm -T peerctl --all run start --rounds 3 --timeout 30s && fail 'a relay without torch trains'
until_true 300 finished alice
show docker compose exec -T erin peerctl status
watched alerts PeerDown:frank || fail 'an alert has fired on the way of the relay'
docker compose logs --no-color "${peers[@]}" | grep 'a limit of this host is too low' && fail 'a container is too small'

began=$SECONDS
show docker compose stop bob
echo "(took $((SECONDS - began)) s; exit code $(state '{{.State.ExitCode}}' bob))"
[ "$(state '{{.State.ExitCode}}' bob)" = 0 ] || fail 'bob did not end by itself'
sees alice bob left || fail 'bob did not take its leave'
docker compose logs --no-log-prefix --no-color bob | grep -q '"peer is down"' || fail 'bob did not end in order'
echo 'walk.sh: all is well'
