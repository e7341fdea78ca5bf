#!/bin/sh
# On a peer's host (Debian, Ubuntu), as root: who has the private key to PUBLIC_KEY reaches its metrics by ssh, as user
# peerd-scrape, and can do nothing else there. Safe to run again; another key takes the place of the one before.
#     sh allow-scrape.sh PUBLIC_KEY [PORT of [metrics] listen]
set -eu

die() {
    echo "allow-scrape: $1" >&2
    exit "$2"
}

port=${2:-9103}
case $port in '' | *[!0-9]*) die "$port: no port" 2 ;; esac
case ${1:-} in
*'
'*) die 'name one public key, and no more' 2 ;;
ssh-* | ecdsa-* | sk-*) ;;
*) die "name a public key, as in 'ssh-ed25519 AAAA...'" 2 ;;
esac

id -u peerd-scrape >/dev/null 2>&1 ||
    useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin peerd-scrape
printf '%s\n' "$1" >/etc/ssh/peerd-scrape.keys
# A key's own options cannot forbid Unix sockets, of which a host has many.
cat >/etc/ssh/sshd_config.d/peerd-scrape.conf <<CONF
Match User peerd-scrape
    AuthenticationMethods publickey
    AuthorizedKeysFile /etc/ssh/peerd-scrape.keys
    AllowTcpForwarding local
    PermitOpen 127.0.0.1:$port
    AllowStreamLocalForwarding no
    AllowAgentForwarding no
    X11Forwarding no
    PermitTunnel no
    PermitTTY no
    ForceCommand /usr/sbin/nologin
CONF
sshd -t
sshd -T -C user=peerd-scrape,host=any,addr=192.0.2.1 | grep -qix "permitopen 127.0.0.1:$port" ||
    die 'sshd does not heed /etc/ssh/sshd_config.d: let its sshd_config begin with Include /etc/ssh/sshd_config.d/*.conf' 1
systemctl reload ssh
