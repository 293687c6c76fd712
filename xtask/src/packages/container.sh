#!/bin/bash
# The image built from its recipe, and an agent in it started by the very command that the recipe gives: it has to report a reset on the host.
# $1: the recipe, $2: the folder of the static binary, $3: a folder for all that the engine writes.
set -euo pipefail
recipe=$1 folder=$2 room=$3
port=25672
events=$room/events.jsonl

# runc, since crun wants a version of cgroups for itself alone; limits of its own, since the engine's are above what some hosts allow.
engine=(podman --root "$room/storage" --runroot "$room/run" --storage-driver vfs --runtime runc --cgroup-manager cgroupfs)
limits=(--ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --name "rstblame-trial-$$")

say() {
	echo "packages: container: $*"
}

# Waits 30 s at most.
told() {
	for _ in {1..300}; do
		grep -qs "$1" "$events" && return 0
		sleep 0.1
	done
	say "no $1 in: $(cat "$events" "$room/log")" >&2
	return 1
}

finish() {
	"${engine[@]}" stop --time 10 "rstblame-trial-$$" > /dev/null 2>&1 || :
	"${engine[@]}" system reset --force > /dev/null 2>&1 || :
}

mkdir -p "$room/etc" /run/netns
printf '[filter]\nports = [%s]\nnetns = "all"\n\n[[sink]]\ntype = "stdout"\n' "$port" > "$room/etc/rstblame.toml"
trap finish EXIT
"${engine[@]}" build --quiet --file "$recipe" --tag rstblame "$folder" > "$room/log" 2>&1 || { cat "$room/log" >&2; exit 1; }
say "built: ok"

# The command of the recipe, comments and line ends taken off, with the configuration of this trial.
command=$(sed -n '/^#   podman run/,/[^\\]$/{s/^#//;s/\\$//;p}' "$recipe" | tr '\n' ' ')
read -ra arguments <<< "${command#*podman run}"
arguments=("${arguments[@]/#--volume=\/etc\/rstblame:/--volume=$room/etc:}")
ip link set lo up
"${engine[@]}" run "${limits[@]}" "${arguments[@]}" > "$events" 2> "$room/log" &
told '"event":"agent_started"'
say "armed with the capabilities of its recipe: ok"
{ exec 3<> "/dev/tcp/127.0.0.1/$port"; } 2> /dev/null && { say "something listens on port $port" >&2; exit 1; }
told "\"event\":\"rst\".*\"port\":$port"
say "reports a reset: ok"
"${engine[@]}" stop --time 10 "rstblame-trial-$$" > /dev/null
told '"event":"agent_stopped"'
say "stops in order: ok"
