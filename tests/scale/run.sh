#!/usr/bin/env bash
# Three replicas behind HAProxy, with deploy/haproxy.cfg: none of the requests may be lost when a replica dies, is told
# to stop, or is taken out and put back by the balancer.
#
#   tests/scale/run.sh [--short] [BINARY]      default: target/release/ironrank
#
# All of it on loopback, with a small model; --short takes under a minute. Needs haproxy and python3.
set -euo pipefail
cd "$(dirname "$0")/../.."
pause=6
if [ "${1:-}" = --short ]; then
  pause=2.5
  shift
fi
binary=${1:-target/release/ironrank}
. tests/support/checks.sh
need "apt-get install haproxy python3, cargo build --release" haproxy python3 "$binary"

admin() { # COMMAND: what the balancer answers to it
  python3 - "$work/haproxy.sock" "$1" <<'PY'
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(sys.argv[2].encode() + b"\n")
print(b"".join(iter(lambda: s.recv(65536), b"")).decode().strip())
PY
}
# Field 18 of a server's line is its state, 8 how many requests it had in all, 5 how many it has now.
stat() { admin "show stat" | awk -F, -v server="replica$1" -v field="$2" '$2 == server {print $field}'; }
state_is() { [[ $(stat "$1" 18) == "$2"* ]]; }
gone() { ! kill -0 "$1" 2>/dev/null; }

declare -A replica=()
start() { # NUMBER: a replica on its port
  "$binary" serve "$work/model" --load-format dummy --served-model-name tiny --max-model-len 8192 --threads 1 \
    --weight-cache "$work/cache" --host 127.0.0.1 --port "${port[$1]}" --drain-delay 4 --shutdown-timeout 20 \
    2>>"$work/replica$1.log" &
  replica[$1]=$!
}
abort() { # NUMBER: kills it; its port is free afterwards
  kill -9 "${replica[$1]}"
  wait "${replica[$1]}" 2>/dev/null || true
}
well() { "$binary" health --port "${port[$1]}" >/dev/null 2>&1; }
up() { well "$1" && state_is "$1" UP; }

tests/support/tiny-model.sh "$work/model"
port=([0]="$(free_port)" [1]="$(free_port)" [2]="$(free_port)" [3]="$(free_port)")

# The shipped configuration, with ports of this machine in place of the name.
sed -e "s|bind :8000|bind 127.0.0.1:${port[0]}|" -e "s|/tmp/haproxy.sock|$work/haproxy.sock|" \
  -e "s|^ *server-template .*|$(printf '    server replica%s 127.0.0.1:%s\\n' 1 "${port[1]}" 2 "${port[2]}" 3 "${port[3]}")|" \
  deploy/haproxy.cfg >"$work/haproxy.cfg"
check "the configuration is valid" haproxy -q -c -f "$work/haproxy.cfg"
for number in 1 2 3; do start "$number"; done
haproxy -db -f "$work/haproxy.cfg" >"$work/haproxy.log" 2>&1 &
eventually 20 test -S "$work/haproxy.sock" || { cat "$work/haproxy.log" >&2; exit 1; }
for number in 1 2 3; do check "replica $number is up" eventually 30 up "$number"; done

python3 tests/scale/load.py "http://127.0.0.1:${port[0]}" 12 "$work/stop" >"$work/load.json" &
clients=$!
sleep "$pause"
for number in 1 2 3; do check "replica $number has its share" test "$(stat "$number" 8)" -gt 5; done

# 1. One dies in the middle of its work.
working() { [ "$(stat "$1" 5)" -gt 0 ]; }
check "replica 1 is at work when it is killed" eventually 10 working 1
abort 1
check "the balancer sees that replica 1 is gone" eventually 10 state_is 1 DOWN
sleep "$pause"
start 1
check "replica 1 is back" eventually 30 up 1

# 2. One is told to stop: it is unwell at once, goes on answering, and leaves within its time.
check "replica 2 is at work when it is told to stop" eventually 10 working 2
kill -TERM "${replica[2]}"
check "the balancer turns away from replica 2" eventually 4 state_is 2 DOWN
check "replica 2 is still there then" kill -0 "${replica[2]}"
check "replica 2 leaves within its time" eventually 25 gone "${replica[2]}"
check "replica 2 leaves in order" wait "${replica[2]}"
start 2
check "replica 2 is back" eventually 30 up 2

# 3. The balancer drains one, which may then be stopped without a delay, and takes it back.
admin "set server replicas/replica3 state drain" >/dev/null
idle() { [ "$(stat "$1" 5)" -eq 0 ]; }
check "replica 3 is drained" eventually 20 idle 3
had=$(stat 3 8)
sleep "$pause"
check "replica 3 gets no more requests" test "$(stat 3 8)" -eq "$had"
abort 3
start 3
check "replica 3 is well again" eventually 30 well 3
admin "set server replicas/replica3 state ready" >/dev/null
more() { [ "$(stat "$1" 8)" -gt "$2" ]; }
check "replica 3 gets requests again" eventually 20 more 3 "$had"

sleep "$pause"
touch "$work/stop"
check "no request was lost" wait "$clients"
cat "$work/load.json"
echo "sent again to another replica: $(admin "show stat" | awk -F, '$1 == "replicas" && $2 == "BACKEND" {print $17}')"
check "no replica failed by itself" bash -c "! grep -E 'panicked|ERROR 500' '$work'/replica*.log"
if [ "$failed" -gt 0 ]; then tail -n 20 "$work"/*.log >&2; fi
summary
