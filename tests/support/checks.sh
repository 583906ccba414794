# shellcheck shell=bash
# Sourced by the test scripts: what they need, their checks and the count of them, their servers, and the end of it all.
#
# Invariant: when the script ends, what it has left in the background is ended, and $work, its directory, removed.

work=$(mktemp -d)
passed=0 failed=0 not_run=0
declare -A server=() url=()

need() { # HOW COMMAND...: ends the script where a command is missing, with HOW, which says what installs them
  local how=$1 needed
  shift
  for needed in "$@"; do
    command -v "$needed" >/dev/null || { echo "$needed is needed; $how" >&2; exit 1; }
  done
}

check() { # NAME COMMAND...: one line, one count; what the command says is in $work/said, and shown if it fails
  local name=$1 started=$SECONDS took=''
  shift
  if "$@" >"$work/said" 2>&1; then
    passed=$((passed + 1))
    [ $((SECONDS - started)) -lt 10 ] || took=" ($((SECONDS - started)) s)"
    echo "ok      $name$took"
  else
    failed=$((failed + 1))
    echo "FAILED  $name"
    sed 's/^/        /' "$work/said"
  fi
}

not_run() { # [NAME] WHY: one line, one count
  not_run=$((not_run + 1))
  echo "not run: $1${2:+: $2}"
}

summary() { # The closing line; the status says whether all went well.
  echo "$passed passed, $failed failed, $not_run not run"
  [ "$failed" -eq 0 ]
}

eventually() { # SECONDS COMMAND...: until it succeeds; tries are counted, since a script may itself be held up
  local tries=$(($1 * 5))
  shift
  until "$@"; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || return 1
    sleep 0.2
  done
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

settled() { # NAME: it is ready, or gone
  url[$1]=$(sed -n 's/.*ready: serving .* on \(https\{0,1\}:[^ ]*\).*/\1/p' "$work/$1.log")
  [ -n "${url[$1]}" ] || ! kill -0 "${server[$1]}" 2>/dev/null
}
serve() { # NAME COMMAND...: the command, a server's, with made-up weights on a free port; ready at ${url[NAME]}, else its log
  local name=$1
  shift
  : >"$work/$name.log" # the command opens it a moment later
  "$@" --load-format dummy --weight-cache off --host 127.0.0.1 --port 0 >"$work/$name.log" 2>&1 &
  server[$name]=$!
  eventually 120 settled "$name" || true
  [ -n "${url[$name]}" ] || { cat "$work/$name.log"; return 1; }
}

stop() { # NAME: tells a server to stop; the status says whether it left in order
  kill -TERM "${server[$1]}" && wait "${server[$1]}"
}

finish() { # Ends what is left: in order, so that it can do the same with what it has started, or else by force.
  # shellcheck disable=SC2046 # several processes
  {
    kill $(jobs -pr) || true
    eventually 10 all_ended || kill -9 $(jobs -pr) || true
    wait
  } 2>/dev/null
  rm -rf "$work"
}
all_ended() { [ -z "$(jobs -pr)" ]; }
trap finish EXIT
