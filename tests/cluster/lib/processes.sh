# shellcheck shell=bash

# kill_pod UID FOLDER...: SIGKILL to all processes of the pod's containers. Their cgroup carries the pod's UID.
kill_pod() {
  local uid=$1 processes
  shift
  mapfile -t processes < <(find "$@" \( -path "*pod$uid/*" -o -path "*pod${uid//-/_}.slice/*" \) -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u)
  [ ${#processes[@]} -gt 0 ] || { echo "no process of pod $uid is here" >&2; return 1; }
  kill -KILL "${processes[@]}"
}
