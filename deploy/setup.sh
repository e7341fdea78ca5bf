#!/usr/bin/env bash
# Makes .venv with peerd, peerctl and all that tests need. Run by `make setup`; safe to run again.
# What the system lacks is installed where we may (root on Debian or Ubuntu), else named exactly.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '==> %s\n' "$*"; }

need_system() {
    local missing=("$@")
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing system packages: ${missing[*]}"
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
    else
        printf 'setup: missing system packages. Install them, then run make again:\n' >&2
        printf '    sudo apt-get install -y %s\n' "${missing[*]}" >&2
        exit 1
    fi
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3.11 python3 python3.12 python3.13; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    printf 'setup: no Python 3.11, 3.12 or 3.13 found. On Debian: sudo apt-get install -y python3 python3-venv\n' >&2
    exit 1
}

python=$(find_python)

# sphinxmix's petlib is built from source: a C compiler, OpenSSL's and Python's headers.
missing=()
command -v cc >/dev/null || command -v gcc >/dev/null || missing+=(gcc libc6-dev)
printf '#include <openssl/ssl.h>\n' | { cc -E - || gcc -E -; } >/dev/null 2>&1 || missing+=(libssl-dev)
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
"$python" - <<'PY' || missing+=(python3-dev)
import pathlib, sys, sysconfig
sys.exit(not (pathlib.Path(sysconfig.get_path("include")) / "Python.h").exists())
PY
[ ${#missing[@]} = 0 ] || need_system "${missing[@]}"

if [ ! -x .venv/bin/python ]; then
    say "making .venv with $("$python" --version)"
    "$python" -m venv .venv
fi
say "installing peerd and its pinned dependencies into .venv (a minute or two)"
# shellcheck disable=SC2086  # PEERD_PIP_ARGS is a list of options
.venv/bin/python -m pip install --quiet --disable-pip-version-check ${PEERD_PIP_ARGS:-} \
    -c requirements.lock -e '.[train,dev]'
say "ready: .venv/bin/peerd, .venv/bin/peerctl"
