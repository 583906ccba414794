#!/usr/bin/env bash
# The server on machines that are smaller or barer than this one: it starts with the right number of threads and
# answers with the same scores.
#
#   tests/cpus/odd.sh [BINARY]      default: target/release/ironrank
#
# Made of affinity masks, control groups, mount namespaces with another /sys and /proc, and system calls that the kernel
# refuses. What takes root, or a kernel that has it, counts as not run where it is not to be had.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=${1:-target/release/ironrank}
. tests/cpus/checks.sh
need "apt-get install curl python3 util-linux, cargo build --release" curl python3 taskset unshare "$binary"
tests/support/tiny-model.sh "$work/model"

mapfile -t cpus < <(python3 -c 'import os; print(*sorted(os.sched_getaffinity(0)), sep="\n")')
first=${cpus[0]} last=${cpus[-1]}
check "this machine: the server starts" start plain "$binary"
check "this machine: the server answers" ask plain
check "this machine: the server leaves in order" stop plain
cores=$(sed -n 's/.* on \([0-9]*\) threads of .*/\1/p' "$work/plain.log")

odd() { # NAME THREADS PATTERN COMMAND...: the server under that command has THREADS threads, and logs the pattern
  local name=$1 threads=$2 pattern=$3
  shift 3
  check "$name: the server starts" start "$name" "$@" "$binary"
  check "$name: threads: $threads" logged "$name" " on $threads threads of "
  check "$name: the log says '$pattern'" logged "$name" "$pattern"
  check "$name: the server answers" ask "$name"
  check "$name: scores are the same" same_scores "$name" plain
  check "$name: metrics are served" curl -sSf --max-time 20 -o "$work/metrics" "${url[$name]:-}/metrics"
  check "$name: the server leaves in order" stop "$name"
}

# 1. CPUs.
odd "one CPU" 1 "may use 1 CPUs on 1 core," taskset -c "$first"
if [ "$first" != "$last" ]; then
  odd "only the last CPU" 1 "may use 1 CPUs on 1 core," taskset -c "$last"
else
  not_run "only the last CPU" "this machine has one"
fi

# 2. Control groups, of version 1 or 2: of the settings, those that the version knows are made.
declare -A group=()
make_group() { # CONTROLLER FILE=VALUE...
  local controller=$1 root=/sys/fs/cgroup set=0 setting
  shift
  if [ -e $root/cgroup.controllers ]; then
    echo "+$controller" >$root/cgroup.subtree_control || return 1
  else
    root=$root/$controller
  fi
  mkdir "$root/ironrank-test-$$" || return 1
  group[$controller]=$root/ironrank-test-$$
  for setting in "$@"; do
    if [ -e "${group[$controller]}/${setting%%=*}" ]; then
      echo "${setting#*=}" >"${group[$controller]}/${setting%%=*}" || return 1
      set=$((set + 1))
    fi
  done
  [ "$set" -gt 0 ]
}
cleaned_up() {
  finish
  for directory in "${group[@]}"; do rmdir "$directory" || true; done
}
trap cleaned_up EXIT
# shellcheck disable=SC2016
within=(sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"')

if make_group cpu cpu.cfs_period_us=100000 cpu.cfs_quota_us=50000 "cpu.max=50000 100000" 2>/dev/null; then
  odd "half a CPU" 1 "a quota of 0.50 CPUs," "${within[@]}" "${group[cpu]}"
else
  not_run "half a CPU" "no control group for CPUs can be made here"
fi
if make_group memory memory.limit_in_bytes=536870912 memory.max=536870912 2>/dev/null; then
  odd "512 MB" "$cores" "a limit of 0.54 GB of memory" "${within[@]}" "${group[memory]}"
  check "512 MB: a model that needs more is refused with a sentence" \
    fails_with 1 "The model needs " "${within[@]}" "${group[memory]}" "$binary" serve --weight-cache off --port 0
else
  not_run "512 MB" "no control group for memory can be made here"
fi
if [ "$first" = "$last" ]; then
  not_run "a set of CPUs with a hole" "this machine has one CPU"
elif make_group cpuset cpuset.mems=0 cpuset.cpus="$last" 2>/dev/null; then
  odd "a set of CPUs with a hole" 1 "may use 1 CPUs on 1 core," "${within[@]}" "${group[cpuset]}"
else
  not_run "a set of CPUs with a hole" "no control group for sets of CPUs can be made here"
fi

# 3. Another /sys, none, and no /proc.
if [ "$(id -u)" = 0 ]; then apart=(unshare -m); else apart=(unshare -rm); fi
mount_all() { printf 'mount -t tmpfs none %s && ' "$@"; }
run='exec "$@"'
if "${apart[@]}" sh -c "$(mount_all /sys) true" 2>/dev/null; then
  odd "no sysfs" "${#cpus[@]}" "may use ${#cpus[@]} CPUs on ${#cpus[@]} cores?," "${apart[@]}" sh -c "$(mount_all /sys) $run" sh
  # Every CPU a sibling of every other.
  topology=$(for cpu in "${cpus[@]}"; do
    directory=/sys/devices/system/cpu/cpu$cpu/topology
    echo "mkdir -p $directory && echo $(IFS=,; echo "${cpus[*]}") >$directory/thread_siblings_list &&"
  done)
  odd "hyper-threads of one core" 1 "may use ${#cpus[@]} CPUs on 1 core," "${apart[@]}" sh -c "$(mount_all /sys) $topology $run" sh
  odd "one and a half CPUs of a container, 512 MB" 1 "a quota of 1.50 CPUs, a limit of 0.54 GB of memory" "${apart[@]}" sh -c \
    "$(mount_all /sys) mkdir -p /sys/fs/cgroup && echo 150000 100000 >/sys/fs/cgroup/cpu.max && echo 536870912 >/sys/fs/cgroup/memory.max && $run" sh
else
  not_run "no sysfs, hyper-threads of one core, one and a half CPUs of a container" "nothing can be mounted here"
fi
if "${apart[@]}" sh -c "$(mount_all /proc /sys) true" 2>/dev/null; then
  odd "neither procfs nor sysfs" "${#cpus[@]}" "no CPU quota, memory of unknown size" "${apart[@]}" sh -c "$(mount_all /proc /sys) $run" sh
else
  not_run "neither procfs nor sysfs" "nothing can be mounted here"
fi

# 4. What kernels lack and containers forbid.
refuse=(python3 tests/cpus/refuse.py)
if "${refuse[@]}" huge_pages -- true 2>/dev/null; then
  odd "no huge pages" "$cores" "ready: serving" "${refuse[@]}" huge_pages:EINVAL --
  odd "no say in where threads and memory are" "$cores" "ready: serving" "${refuse[@]}" sched_setaffinity set_mempolicy --
  odd "not even the CPUs are known" "$cores" "ready: serving" "${refuse[@]}" sched_getaffinity:ENOSYS --
else
  not_run "no huge pages, no affinity, no memory policy" "this kernel filters no system calls"
fi

# 5. A limit on addresses, as batch systems set.
odd "1 GB of addresses" "$cores" "ready: serving" sh -c "ulimit -v 1048576 && $run" sh
summary
