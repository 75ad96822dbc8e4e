#!/usr/bin/env bash
# The stack for a user's own manifests: frd with the embedded store (or STORE=etcd with ETCD=URL), and HAProxy under it.
# Everything it keeps is in .fridaymorning; `down` stops the processes and loses nothing.
# usage: stack.sh up|down
set -euo pipefail
cd "$(dirname "$0")/../.."
home=$PWD/.fridaymorning
bin=$PWD/target/${PROFILE_DIR:-debug}
bind=${HTTP_BIND:-127.0.0.1:8080}
running() { local pid; pid=$(cat "$home/frd.pid" 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = frd ] && echo "$pid"; }
haproxies() {
    local p c
    for p in /proc/[0-9]*; do
        # Processes come and go while we look.
        c=$({ tr '\0' ' ' <"$p/cmdline"; } 2>/dev/null) || continue
        case $c in *haproxy*"$home/haproxy/"*) [ "$({ cat "$p/comm"; } 2>/dev/null)" = haproxy ] && echo "${p#/proc/}" ;; esac
    done
    return 0
}
case ${1:-} in
up)
    mkdir -p "$home"
    if pid=$(running); then echo "frd runs already (process $pid)"; else
        store=(--data-dir "$home/data")
        [ "${STORE:-embedded}" = etcd ] && store=(--etcd "${ETCD:?say which etcd: make up STORE=etcd ETCD=http://host:2379}")
        setsid "$bin/frd" "${store[@]}" --listen "unix:$home/frd.sock" --http-bind "$bind" --haproxy-dir "$home/haproxy" >>"$home/frd.log" 2>&1 </dev/null &
        echo $! >"$home/frd.pid"
        for _ in $(seq 200); do "$bin/frctl" --server "unix:$home/frd.sock" get >/dev/null 2>&1 && break; running >/dev/null || break; sleep 0.1; done
        "$bin/frctl" --server "unix:$home/frd.sock" get >/dev/null || { tail -20 "$home/frd.log" >&2; echo "frd did not come up; its log is $home/frd.log" >&2; exit 1; }
    fi
    cat <<EOF
FridayMorning is up: requests to http://$bind, everything it keeps in $home
  export FRCTL_SERVER=unix:$home/frd.sock PATH=$bin:\$PATH
  frctl apply -f manifests/shop.yaml
  frctl watch shop
Stop it with: make down
EOF
    ;;
down)
    if pid=$(running); then
        kill "$pid"
        for _ in $(seq 200); do running >/dev/null || break; sleep 0.1; done
        echo "frd stopped"
    else echo "frd does not run"; fi
    rm -f "$home/frd.pid"
    for p in $(haproxies); do kill -USR1 "$p" 2>/dev/null || true; done
    for _ in $(seq 100); do [ -z "$(haproxies)" ] && break; sleep 0.1; done
    for p in $(haproxies); do kill -TERM "$p" 2>/dev/null || true; done
    echo "HAProxy stopped; the services go on in Swarm, and \`make up\` finds everything as it was"
    ;;
*) echo "usage: stack.sh up|down" >&2; exit 2 ;;
esac
