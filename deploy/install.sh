#!/usr/bin/env bash
# From bare hosts to a network, and from one version to the next, in one command:
#     deploy/install.sh alice=root@192.0.2.1 bob=root@192.0.2.2 carol=root@192.0.2.3
set -euo pipefail

usage() {
    cat <<'USAGE'
usage: deploy/install.sh [OPTIONS] NAME=[USER@]HOST[,ADDRESS] ...

Installs peerd on every HOST (Debian or Ubuntu with systemd, asked by ssh, as root or with sudo), makes a network of
them, starts it, and waits until all see each other. ADDRESS is where the others reach it, if that is not HOST.

The authority's key is made here and stays here, in --network. A peer's keys are made on its host and never leave it.
Safe to run again: with more hosts they are added, with another version hosts are upgraded one at a time.

  --network DIR    the authority, an operator and contexts.toml for peerctl  [./network]
  --source DIR     the source tree to install from  [this one]
  --wheels DIR     install from these wheels alone (peerd and all that it needs): hosts then need no registry and
                   no compiler
  --relay          without torch: these hosts relay for others and take no part in runs
  --config FILE    peerd.toml for all of them  [a short one, made when a host has none]
  --hops N         mix nodes of a path, in that short one  [3, or what so few hosts allow]
  --timeout S      so long for all to see each other, after each start  [120]

environment: PEERD_NETWORK, the name of a new network [peers]; PEERD_SSH, instead of `ssh` (as in "ssh -F FILE"); PEERCTL, instead of the source tree's or PATH's;
  PEERD_PIP_ARGS, options of pip on the hosts
exit status: 0 all see each other; 1 something failed, and the last line says what; 2 usage
USAGE
}

say() { printf '==> %s\n' "$*" >&2; }
die() {
    printf 'install: %s\n' "$1" >&2
    exit "${2:-1}"
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
network=./network source=$here/.. wheels='' extra='[train]' config='' hops='' patience=120
names=()
declare -A target=() address=() sudo=() state=()

parse() {
    while [ $# -gt 0 ]; do
        case $1 in
        --network | --source | --wheels | --config | --hops | --timeout)
            [ $# -gt 1 ] || die "$1 needs a value (--help)" 2
            case $1 in
            --network) network=$2 ;; --source) source=$2 ;; --wheels) wheels=$2 ;; --config) config=$2 ;;
            --hops) hops=$2 ;; --timeout) patience=$2 ;;
            esac
            shift
            ;;
        --relay) extra='' ;;
        -h | --help) usage && exit 0 ;;
        -*) die "no such option: $1 (--help)" 2 ;;
        *) host "$1" ;;
        esac
        shift
    done
    [ ${#names[@]} -ge 3 ] || die "a path needs a mix node beside sender and recipient: name three hosts at least" 2
    [[ $patience =~ ^[1-9][0-9]*$ ]] || die "--timeout: $patience is no number of seconds" 2
    [ -n "$hops" ] || hops=$((${#names[@]} > 4 ? 3 : ${#names[@]} - 2))
    [[ $hops =~ ^[1-9][0-9]?$ ]] && [ "$hops" -le $((${#names[@]} - 2)) ] ||
        die "--hops: $hops; with ${#names[@]} hosts it is 1 to $((${#names[@]} - 2))" 2
    [ -z "$config" ] || [ -r "$config" ] || die "--config: $config cannot be read" 2
    [ -z "$wheels" ] || compgen -G "$wheels/peerd-*.whl" >/dev/null || die "--wheels: no peerd-*.whl in $wheels" 2
}

host() {
    local name=${1%%=*} rest=${1#*=}
    [[ $1 == *=* && $name =~ ^[a-z0-9][a-z0-9-]{0,62}$ ]] || die "$1: not NAME=[USER@]HOST[,ADDRESS] (--help)" 2
    [ -z "${target[$name]:-}" ] || die "$name: named twice" 2
    target[$name]=${rest%%,*}
    [[ ${target[$name]} =~ ^[A-Za-z0-9_.@:%-]+$ && ${target[$name]} != -* ]] || die "$1: no host to ask by ssh" 2
    address[$name]=${target[$name]##*@}
    [[ $rest != *,* ]] || address[$name]=${rest#*,}
    [[ ${address[$name]} =~ ^[A-Za-z0-9_.:-]+$ ]] || die "$1: no address" 2
    [[ ${address[$name]} != *:*:* ]] || address[$name]="[${address[$name]}]" # IPv6
    names+=("$name")
}

# Standard input is the file or stream that goes there.
on() {
    local name=$1
    shift
    # shellcheck disable=SC2086  # PEERD_SSH is a command with its options
    ${PEERD_SSH:-ssh -o BatchMode=yes} "${target[$name]}" "$@"
}

as_root() {
    local name=$1
    shift
    on "$name" "${sudo[$name]} $*"
}

find_peerctl() {
    if [ -n "${PEERCTL:-}" ]; then
        peerctl=$PEERCTL
    elif [ -x "$source/.venv/bin/peerctl" ]; then
        peerctl=$source/.venv/bin/peerctl
    else
        peerctl=$(command -v peerctl) || die "no peerctl here: run \`make setup\` in $source, or set PEERCTL"
    fi
}

# What goes to every host, and a digest of it: hosts that have it already are left alone.
pack() {
    mkdir "$work/out"
    if [ -n "$wheels" ]; then
        mkdir "$work/out/wheels" && cp "$wheels"/*.whl "$work/out/wheels/"
    else
        say "building a wheel of $source"
        "$(dirname "$peerctl")/python" -m pip wheel --quiet --no-deps -w "$work/out/wheels" "$source" ||
            die "the wheel could not be built (see above)"
    fi
    cp "$source/requirements.lock" "$here/install-host.sh" "$here/man.py" "$here"/systemd/* "$work/out/"
    if [ -n "$config" ]; then
        cp "$config" "$work/out/peerd.toml"
    else
        cat >"$work/out/default.toml" <<TOML
# deploy/peerd.toml of the source tree lists all keys.
[link]
listen = "0.0.0.0:9101"

[mixing]
hops = $hops

[control]
listen = "0.0.0.0:9102" # mutual TLS with an operator's certificate

[metrics]
listen = "127.0.0.1:9103"
TOML
    fi
    tar -C "$work/out" --sort=name --owner=0 --group=0 --mtime=@0 -cf "$work/out.tar" .
}

reach() {
    local name
    for name in "${names[@]}"; do
        # shellcheck disable=SC2016  # that is for the host's shell
        sudo[$name]=$(on "$name" 'test "$(id -u)" = 0 || echo sudo -n' </dev/null) ||
            die "$name: ssh to ${target[$name]} failed; it must work without asking (keys, known_hosts)"
        as_root "$name" true </dev/null || die "$name: neither root nor sudo without a password on ${target[$name]}"
    done
}

# Prints what the host says: new or joined, changed or same, active or not; then the request.
prepare() {
    local name=$1 there
    there=$(as_root "$name" mktemp -d /tmp/peerd-install.XXXXXX </dev/null)
    as_root "$name" tar -C "$there" -xf - <"$work/out.tar"
    as_root "$name" env "PEERD_PIP_ARGS='${PEERD_PIP_ARGS:-}'" \
        bash "$there/install-host.sh" prepare "$name" "${address[$name]}:9101" "'$extra'" </dev/null
    as_root "$name" rm -rf "$there" </dev/null
}

prepare_all() {
    local name pids=() failed=0
    say "installing on ${names[*]}"
    for name in "${names[@]}"; do
        prepare "$name" >"$work/$name.said" 2>"$work/$name.log" &
        pids+=($!)
    done
    for name in "${names[@]}"; do
        if wait "${pids[0]}"; then
            read -r state["$name"] <"$work/$name.said"
            tail -n +2 "$work/$name.said" >"$work/$name.json"
            say "$name: $(tail -n 1 "$work/$name.log")"
        else
            sed "s/^/$name: /" "$work/$name.log" >&2
            failed=1
        fi
        pids=("${pids[@]:1}")
    done
    [ $failed = 0 ] || die "not all hosts could be prepared (see above); nothing was started"
}

enrol() {
    local name new=()
    say "signing in; the authority is in $network"
    [ -e "$network/network.json" ] || "$peerctl" network create "$network" --name "${PEERD_NETWORK:-peers}" >/dev/null
    [ -e "$network/ops/operator.pem" ] ||
        "$peerctl" network operator "$network" operator --out "$network/ops" >/dev/null
    for name in "${names[@]}"; do
        [[ ${state[$name]} != new* ]] || new+=("$work/$name.json")
    done
    [ ${#new[@]} = 0 ] || "$peerctl" network enroll "$network" "${new[@]}" >/dev/null
    for name in "${names[@]}"; do
        [[ ${state[$name]} != new* ]] ||
            as_root "$name" bash /opt/peerd/install-host.sh join <"$network/bundles/$name.bundle" >/dev/null
        "$peerctl" context add --replace "$name" --address "${address[$name]}:9102" \
            --operator "$network/ops/operator.pem" >/dev/null
    done
}

# What runs with an earlier version is restarted one peer at a time, when all are up, so that a run goes on.
start() {
    local name
    say "starting"
    for name in "${names[@]}"; do
        as_root "$name" systemctl enable --quiet --now peerd </dev/null || why "$name"
    done
    see_each_other
    for name in "${names[@]}"; do
        if [[ ${state[$name]} == *" changed active" ]]; then
            say "$name: restarting"
            as_root "$name" systemctl restart peerd </dev/null || why "$name"
            see_each_other
        fi
        as_root "$name" bash /opt/peerd/install-host.sh started </dev/null
    done
}

why() {
    as_root "$1" journalctl -u peerd -n 5 --no-pager -o cat </dev/null >&2 || true
    die "$1: the daemon does not start (see above; journalctl -u peerd on its host)"
}

see_each_other() {
    local ends=$((SECONDS + patience)) seen=''
    until seen=$("$peerctl" --on "$(IFS=, && echo "${names[*]}")" --output json status 2>/dev/null | alive); do
        [ "$SECONDS" -lt "$ends" ] ||
            die "not all see each other after $patience s (${seen:-no answer}). Are ports 9101 and 9102 open?"
        sleep 1 # other hosts have no event to wait for
    done
}

# Whether all of the answers are there, and say that the other hosts are alive.
alive() {
    python3 -c '
import json, sys
hosts = int(sys.argv[1])
try:
    peers = json.load(sys.stdin)
except ValueError:
    sys.exit(1)
print(*("{} sees {}".format(name, peer["peers_alive"]) for name, peer in peers.items()), sep=", ")
sys.exit(len(peers) < hosts or any(peer["peers_alive"] < hosts - 1 for peer in peers.values()))
' ${#names[@]}
}

parse "$@"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
find_peerctl
reach
pack
prepare_all
mkdir -p "$network"
network=$(cd "$network" && pwd)
export PEERCTL_CONTEXTS=$network/contexts.toml
enrol
start
say "all ${#names[@]} see each other. From here:"
command -v peerctl >/dev/null || say "    export PATH=$(cd "$(dirname "$peerctl")" && pwd):\$PATH"
say "    export PEERCTL_CONTEXTS=$network/contexts.toml"
say "    peerctl --all run start --task digits-cnn --rounds 10 --wait"
"$peerctl" --on "$(IFS=, && echo "${names[*]}")" status
