# shellcheck shell=bash
# Long steps say what they do, how long that took last time, and where their output is.

say() { echo "$*" >&2; }
die() { say "cluster: $*"; exit 1; }

have() { # NAME...: are all these programs on PATH?
  local name
  for name; do command -v "$name" >/dev/null || return; done
}

duration() { if [ "$1" -lt 60 ]; then echo "$1 s"; else echo "$(($1 / 60)) min $(($1 % 60)) s"; fi; }

last_time() { sed -n "s/^$1=//p" "$cache/times" | tail -1; }

# steps_of COUNT: what `next` runs from now on is counted.
steps_of() { planned=$1 number=0; }

# next NAME COMMAND...: a step that says which of how many it is.
next() {
  number=$((number + 1))
  label="[$number/$planned] " step "$@"
}

# progress TEXT: what a step is at, for people; all else that it prints goes to its log.
progress() { say "  $*" 2>&8; }

# step NAME COMMAND...: runs the command with its output in a log; the log's end is shown when it fails.
step() {
  local name=$1 started=$SECONDS log last pid status=0 shown=0
  shift
  log=$cache/log/${name//[^a-zA-Z0-9.-]/-}.log
  last=$(last_time "$name")
  say "> ${label:-}$name${last:+ (last time $(duration "$last"))}"
  ("$@") 8>&2 >"$log" 2>&1 </dev/null &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.2
    if [ $((SECONDS - started - shown)) -ge 15 ]; then
      shown=$((SECONDS - started))
      say "  $name: $(duration $shown)${last:+ of about $(duration "$last")}"
    fi
  done
  wait "$pid" || status=$?
  if [ $status -ne 0 ]; then
    tail -30 "$log" >&2
    die "$name failed (exit code $status); the whole output: $log"
  fi
  { grep -v "^$name=" "$cache/times" || true; echo "$name=$((SECONDS - started))"; } >"$cache/times.new"
  mv "$cache/times.new" "$cache/times"
}

# until_ok SECONDS COMMAND...: waits for a fact, with a bound.
until_ok() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || { say "gave up waiting for: $*"; return 1; }
    sleep 0.2
  done
}
