#!/usr/bin/env bash
# Installs from Debian what is missing, and says what and why. What is there is left alone.
# usage: packages.sh GROUP…    build | run | etcd | test | bench | fuzz
set -euo pipefail

# group  program that shows it is there  Debian package  why
needs='
build  protoc            protobuf-compiler  builds the etcd client
build  /usr/include/google/protobuf/any.proto  libprotobuf-dev  the definitions that protoc reads
run    dockerd           docker.io          runs the services, as a Swarm
run    haproxy           haproxy            routes the requests
run    iptables          iptables           dockerd publishes ports with it
etcd   etcd              etcd-server        the store of a real installation
etcd   etcdctl           etcd-client        looks into it
test   openssl           openssl            makes certificates for the tests of TLS
test   curl              curl               speaks HTTP/2 in the tests
test   promtool          prometheus         checks /metrics and the rules; takes in the remote-write sink; metrics ask it
test   influxd           influxdb           takes in the line-protocol sink; metrics ask it
test   /usr/share/doc/python3-venv  python3-venv  a Python of its own for fluent-logger, a real client of Forward
test   npm               npm                installs the JavaScript client and server of Forward
test   docker-registry   docker-registry    holds images that are given only to who logs in
bench  wrk               wrk                measures throughput
fuzz   g++               g++                builds libFuzzer
'

missing=() reasons=()
while read -r group shown package why; do
    [ -n "$group" ] || continue
    case " $* " in *" $group "*) ;; *) continue ;; esac
    if [ "${shown#/}" != "$shown" ]; then [ -e "$shown" ] && continue; else command -v "$shown" >/dev/null 2>&1 && continue; [ -x "/usr/sbin/$shown" ] && continue; fi
    missing+=("$package") reasons+=("  $package: $why")
done <<<"$needs"

for tool in cargo gcc; do
    command -v "$tool" >/dev/null 2>&1 || { echo "setup: $tool is missing: install Rust (https://rustup.rs) and gcc first" >&2; exit 1; }
done
[ ${#missing[@]} -eq 0 ] && exit 0

echo "setup: installing what is missing:"
printf '%s\n' "${reasons[@]}"
if ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: this system has no apt-get: install the programs above by its own means, then run make again" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "setup: only root may install: run  sudo apt-get install ${missing[*]}  and then make again" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
# A service that starts by itself would take ports: only the programs are wanted.
policy=/usr/sbin/policy-rc.d
made_policy=
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod +x "$policy"; made_policy=1
    trap '[ -z "$made_policy" ] || rm -f "$policy"' EXIT
fi
log=$(mktemp)
{ apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 || { tail -20 "$log" >&2; echo "setup: apt-get failed, its whole output is in $log" >&2; exit 1; }
rm -f "$log"
echo "setup: done"
