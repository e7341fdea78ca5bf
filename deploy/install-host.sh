#!/usr/bin/env bash
# One host's part of install.sh, which runs it there as root; every step may be repeated.
#     install-host.sh prepare NAME HOST:PORT [[train]]   from the folder that it lies in
#     install-host.sh join <BUNDLE
#     install-host.sh started                            what runs now is what is installed
# /opt/peerd is a link to the version in force, /opt/peerd.d has that and the one before.
set -euo pipefail

state=/var/lib/peerd versions=/opt/peerd.d running=/opt/peerd.d/running
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

die() {
    printf '%s\n' "$*" >&2
    exit 1
}

as_peerd() { runuser -u peerd -- "$@"; }

need() {
    command -v apt-get >/dev/null || die "missing: $*; install them and run this again"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@"; } >/dev/null ||
        die "apt-get could not install $*"
}

find_python() {
    local candidate
    for candidate in python3 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; then
            python=$candidate
            return
        fi
    done
    die "no Python 3.11, 3.12 or 3.13 on this host"
}

# Into a folder of its own, so that a daemon that runs keeps its files, and a link goes there when all is done.
install_version() {
    local extra=$2 folder=$versions/$1
    if ! { [ -e "$folder/complete" ] && "$folder/bin/peerd" --version >/dev/null 2>&1; }; then
        find_python
        "$python" -c 'import ensurepip, venv' 2>/dev/null || need python3-venv
        [ -d "$here/wheels" ] || die "no wheels in $here"
        rm -rf "$folder"
        "$python" -m venv "$folder"
        local wheel=("$here"/wheels/peerd-*.whl) arguments=()
        if [ "$(find "$here/wheels" -name '*.whl' | wc -l)" -gt 1 ]; then
            arguments=(--no-index --find-links "$here/wheels")
        else # sphinxmix's petlib is built from source
            command -v cc >/dev/null && [ -e /usr/include/openssl/ssl.h ] || need gcc libc6-dev libssl-dev python3-dev
        fi
        # shellcheck disable=SC2086  # PEERD_PIP_ARGS is a list of options
        "$folder/bin/pip" install --quiet --disable-pip-version-check "${arguments[@]}" ${PEERD_PIP_ARGS:-} \
            -c "$here/requirements.lock" "${wheel[0]}$extra"
        install -m 0755 "$here/install-host.sh" "$folder/install-host.sh"
        "$folder/bin/peerd" --version >/dev/null || die "what was installed does not run"
        touch "$folder/complete"
    fi
    [ -e "$folder/share/man/man1/peerd.1" ] || "$folder/bin/python" "$here/man.py" "$folder/share/man/man1" >/dev/null
    [ ! -e /opt/peerd ] || [ -L /opt/peerd ] || die "/opt/peerd is there and was not made by this script"
    ln -sfn "$folder" /opt/peerd.new && mv -T /opt/peerd.new /opt/peerd
}

# Of the version in force; those of commands that it has no more go.
install_pages() {
    local pages=/usr/local/share/man/man1
    mkdir -p "$pages"
    rm -f "$pages"/peerd.1 "$pages"/peerd-*.1 "$pages"/peerctl.1 "$pages"/peerctl-*.1
    install -m 0644 /opt/peerd/share/man/man1/*.1 "$pages"
}

install_units() {
    install -m 0644 "$here"/peerd.service "$here"/peerd@.service /etc/systemd/system/
    install -D -m 0644 "$here/sysusers.conf" /usr/lib/sysusers.d/peerd.conf
    install -D -m 0644 "$here/tmpfiles.conf" /usr/lib/tmpfiles.d/peerd.conf
    systemd-sysusers /usr/lib/sysusers.d/peerd.conf
    systemd-tmpfiles --create /usr/lib/tmpfiles.d/peerd.conf
    if [ -e "$here/peerd.toml" ]; then
        install -m 0644 "$here/peerd.toml" /etc/peerd/peerd.toml
    elif [ ! -e /etc/peerd/peerd.toml ]; then
        install -m 0644 "$here/default.toml" /etc/peerd/peerd.toml
    fi
    systemctl daemon-reload
}

# Of all that a restart would bring into force.
digest() { cat "$(readlink -f /opt/peerd)/complete" /etc/systemd/system/peerd.service /etc/peerd/peerd.toml |
    { readlink -f /opt/peerd && cat; } | sha256sum | cut -c 1-64; }

prepare() {
    local name=$1 address=$2 extra=$3 joined=new changed=changed active=inactive version
    command -v systemctl >/dev/null || die "no systemd on this host"
    mkdir -p "$versions"
    exec 9>"$versions/lock"
    flock 9 # one that was interrupted may still be at work here
    install_version "$(cat "$here"/wheels/* "$here/requirements.lock" - <<<"$extra" | sha256sum | cut -c 1-16)" "$extra"
    install_units
    install_pages
    if [ ! -e $state/identity.json ]; then
        as_peerd /opt/peerd/bin/peerd init --state-dir $state --name "$name" --address "$address" >/dev/null
    fi
    [ ! -e $state/bundle.json ] || joined=joined
    [ "$(cat $running 2>/dev/null)" != "$(digest)" ] || changed=same
    ! systemctl is-active --quiet peerd || active=active
    version=$(/opt/peerd/bin/peerd --version)
    echo "$joined $changed $active"
    cat $state/request.json
    echo "$version is installed" >&2
}

join() {
    local bundle
    bundle=$(mktemp)
    cat >"$bundle"
    chown peerd "$bundle"
    as_peerd /opt/peerd/bin/peerd join --state-dir $state "$bundle"
    rm -f "$bundle"
}

# Now nothing runs from an earlier version: the last one stays, to go back to.
started() {
    local folder old
    folder=$(readlink -f /opt/peerd)
    digest >$running
    find "$versions" -mindepth 1 -maxdepth 1 -type d ! -path "$folder" -printf '%T@ %p\n' | sort -rn | tail -n +2 |
        while read -r _ old; do rm -rf "$old"; done
}

case ${1:-} in
prepare) prepare "$2" "$3" "${4:-}" ;;
join) join ;;
started) started ;;
*) die "usage: see the head of $0" ;;
esac
