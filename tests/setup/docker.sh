#!/usr/bin/env bash
# Sees to it that Docker answers and that this node is in a Swarm. What is there already is left as it is; what is made
# here is written down in .fridaymorning, so that `docker.sh stop` undoes it and nothing else.
# usage: docker.sh start|stop
set -euo pipefail
cd "$(dirname "$0")/../.."
state=.fridaymorning
case ${1:-start} in
start)
    mkdir -p "$state"
    if ! docker info >/dev/null 2>&1; then
        [ -z "${DOCKER_HOST:-}" ] || { echo "setup: no Docker answers at $DOCKER_HOST" >&2; exit 1; }
        [ "$(id -u)" -eq 0 ] || { echo "setup: no Docker answers, and only root may start dockerd" >&2; exit 1; }
        echo "setup: no Docker answers: starting dockerd (its log: $state/dockerd.log)"
        rm -f /var/run/docker.pid
        setsid dockerd >"$state/dockerd.log" 2>&1 </dev/null &
        echo $! >"$state/dockerd.pid"
        for _ in $(seq 300); do docker info >/dev/null 2>&1 && break; kill -0 "$(cat "$state/dockerd.pid")" 2>/dev/null || break; sleep 0.1; done
        docker info >/dev/null 2>&1 || { tail -5 "$state/dockerd.log" >&2; rm -f "$state/dockerd.pid"; echo "setup: dockerd did not come up" >&2; exit 1; }
    fi
    swarm=$(docker info --format '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}')
    case $swarm in
    "active true") ;;
    "active false") echo "setup: this node is a worker of a Swarm: run this on a manager" >&2; exit 1 ;;
    inactive*)
        echo "setup: making this node a Swarm of its own, on loopback"
        docker swarm init --advertise-addr 127.0.0.1 --listen-addr 127.0.0.1:2377 >/dev/null
        touch "$state/made-swarm"
        ;;
    *) echo "setup: this node's Swarm state is '$swarm': bring it in order first (docker info)" >&2; exit 1 ;;
    esac
    ;;
stop)
    if [ -e "$state/made-swarm" ]; then
        echo "setup: leaving the Swarm that was made here"
        docker swarm leave --force >/dev/null 2>&1 || true
        rm -f "$state/made-swarm"
    fi
    if [ -e "$state/dockerd.pid" ]; then
        pid=$(cat "$state/dockerd.pid")
        if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ]; then
            echo "setup: stopping the dockerd that was started here"
            kill "$pid"
            for _ in $(seq 200); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
        fi
        rm -f "$state/dockerd.pid"
    fi
    ;;
*) echo "usage: docker.sh start|stop" >&2; exit 2 ;;
esac
