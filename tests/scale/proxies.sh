#!/usr/bin/env bash
# One server behind HAProxy, with deploy/haproxy.cfg, and behind nginx with a pool of connections: no request may be lost,
# and clients that leave free their work.
#
#   tests/scale/proxies.sh [BINARY]      default: target/release/ironrank
#
# All of it on loopback, with a small model, in under a minute. Needs haproxy, nginx and python3.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=${1:-target/release/ironrank}
PATH=$PATH:/usr/sbin
. tests/support/checks.sh
need "apt-get install haproxy nginx-light python3, cargo build --release" haproxy nginx python3 "$binary"

tests/support/tiny-model.sh "$work/model"
begin() { # NAME: a server of its own for each proxy, so that what it has answered is known
  serve "$1" "$binary" serve "$work/model" --served-model-name tiny --max-model-len 8192 --threads 1
}
answers() { curl -sf -m 5 -o "$work/version" "http://127.0.0.1:$1/version"; }
proxied() { # NAME PORT
  check "$1 passes requests on" eventually 20 answers "$2"
  check "clients that leave $1 free their work at the server" \
    python3 tests/scale/proxies.py leaves "http://127.0.0.1:$2" "${url[$1]}"
  check "none of 1,000 POSTs through $1 is lost" python3 tests/scale/proxies.py posts "http://127.0.0.1:$2" 1000
}

begin haproxy
port=$(free_port)
sed -e "s|bind :8000|bind 127.0.0.1:$port|" -e "s|/tmp/haproxy.sock|$work/haproxy.sock|" \
  -e "s|^ *server-template .*|    server replica1 ${url[haproxy]#http://}|" deploy/haproxy.cfg >"$work/haproxy.cfg"
haproxy -db -f "$work/haproxy.cfg" >"$work/haproxy.log" 2>&1 &
proxied haproxy "$port"

plain=$(free_port)
sed -e "s|127.0.0.1:$port|127.0.0.1:$plain|" -e "s|haproxy.sock|plain.sock|" -e "s|option httpchk GET /health|option httpchk|" \
  "$work/haproxy.cfg" >"$work/plain.cfg"
haproxy -db -f "$work/plain.cfg" >"$work/plain.log" 2>&1 &
check "HAProxy's plain check finds the server well" eventually 20 answers "$plain"
check "and goes on finding it so" bash -c "sleep 3; ! grep -E 'DOWN|no server' '$work/plain.log'"

begin nginx
port=$(free_port)
as=''
[ "$(id -u)" -ne 0 ] || as='user root;' # whose directory $work is
cat >"$work/nginx.conf" <<NGINX
$as
daemon off;
pid $work/nginx.pid;
error_log $work/nginx.log;
events {}
http {
  access_log off;
  client_body_temp_path $work/body;
  proxy_temp_path $work/proxy;
  fastcgi_temp_path $work/fastcgi;
  uwsgi_temp_path $work/uwsgi;
  scgi_temp_path $work/scgi;
  upstream rerank {
    server ${url[nginx]#http://};
    keepalive 8;
  }
  server {
    listen 127.0.0.1:$port;
    client_max_body_size 32m;
    location / {
      proxy_pass http://rerank;
      proxy_http_version 1.1;
      # As many a configuration has it that was written for WebSockets: the wish reaches the server.
      proxy_set_header Connection \$http_connection;
      proxy_set_header Upgrade \$http_upgrade;
      proxy_read_timeout 300s;
    }
  }
}
NGINX
nginx -c "$work/nginx.conf" -e "$work/nginx.log" 2>>"$work/nginx.log" &
proxied nginx "$port"
for name in haproxy nginx; do check "the server behind $name stops in order" stop "$name"; done
if [ "$failed" -gt 0 ]; then tail -n 20 "$work"/*.log >&2; fi
summary
