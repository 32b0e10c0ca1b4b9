#!/usr/bin/env bash
# beside.sh COMMAND ARG...: runs a command where a second testbed can be up: in namespaces of its own, of network, mounts,
# processes and control groups. What it started ends with it. It exits with 69 where the machine does not allow that.
set -euo pipefail

group=neutree-beside
mapfile -t hierarchies < <(awk '$3 == "cgroup" { print $2 }' /proc/self/mounts)
if [[ ${#hierarchies[@]} -eq 0 ]]; then
  echo "beside.sh: a second testbed needs control groups of version 1, of which none are mounted" >&2
  exit 69
fi

# A group can be removed once the last process in it is gone, which a killed one is a moment later.
remove() {
  for hierarchy in "${hierarchies[@]}"; do
    for _ in {1..50}; do
      [[ -d "$hierarchy/$group" ]] || break
      find "$hierarchy/$group" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
    done
  done
}

for hierarchy in "${hierarchies[@]}"; do
  mkdir -p "$hierarchy/$group"
  # A cpuset is empty at first, and takes no process.
  for file in cpuset.cpus cpuset.mems; do
    [[ ! -e "$hierarchy/$file" ]] || cat "$hierarchy/$file" >"$hierarchy/$group/$file"
  done
done

(
  for hierarchy in "${hierarchies[@]}"; do echo "$BASHPID" >"$hierarchy/$group/cgroup.procs"; done
  export GROUP="$group" HIERARCHIES="${hierarchies[*]}"
  # Neither outlives this script, even a killed one.
  exec setpriv --pdeathsig KILL unshare --cgroup --mount --net --pid --fork --kill-child --mount-proc --propagation private bash -euc '
    for hierarchy in $HIERARCHIES; do mount --bind "$hierarchy/$GROUP" "$hierarchy"; done
    ip link set lo up
    unset GROUP HIERARCHIES
    "$@"' beside "$@"
) &
child=$!
trap 'kill -KILL "$child" 2>/dev/null || true; remove' EXIT
trap 'exit 143' TERM INT HUP
wait "$child"
