# What the tests of both packages have in common.
set -euo pipefail
config=/etc/rstblame/rstblame.toml
events=/var/log/rstblame/events.jsonl
# A port that no other test on this machine resets.
port=25672

# Says what is done, and what went wrong with all it said.
step() {
	local what=$1
	shift
	if "$@" > /tmp/said 2>&1; then
		echo "packages: $what: ok"
	else
		echo "packages: $what: failed, $*" >&2
		cat /tmp/said >&2
		exit 1
	fi
}

not() {
	! "$@"
}

# Waits 20 s at most.
within() {
	for _ in {1..200}; do
		"$@" && return 0
		sleep 0.1
	done
	return 1
}

as_user() {
	setpriv --reuid=rstblame --regid=rstblame --clear-groups "$@"
}

unit_is_valid() {
	systemd-analyze verify --man=no "$1" 2> /tmp/verify || :
	# Other units of this machine may be wrong.
	not grep rstblame /tmp/verify
}

# The installed agent with the installed configuration, as the user and with the capabilities that the unit at $1 has; and a reset.
agent_works() {
	local capabilities agent
	capabilities=$(sed -n 's/^AmbientCapabilities=//p' "$1" | tr 'A-Z ' 'a-z,' | sed 's/cap_/+/g')
	systemd-tmpfiles --create rstblame.conf
	printf '[[sink]]\ntype = "file"\npath = "%s"\n' "$events" > /tmp/sink
	sed "/^\[\[sink\]\]/,/^format/d" "$config" | cat - /tmp/sink > /tmp/rstblame.toml
	# Not as_user: the process to be stopped would be a shell, and not the agent.
	setpriv --reuid=rstblame --regid=rstblame --clear-groups --inh-caps="-all,$capabilities" --ambient-caps="-all,$capabilities" \
		--bounding-set="-all,$capabilities" --no-new-privs /usr/bin/rstblame daemon --config /tmp/rstblame.toml &
	agent=$!
	# shellcheck disable=SC2064 # it is this agent that must not outlive a failure
	trap "kill $agent" EXIT
	within is_told '"event":"agent_started"' &&
		not bash -c "exec 3<> /dev/tcp/127.0.0.1/$port" &&
		within is_told "\"event\":\"rst\".*\"port\":$port" || return 1
	trap - EXIT
	kill "$agent"
	wait "$agent" && is_told '"event":"agent_stopped"'
}

is_told() {
	[ -e "$events" ] && grep -q "$1" "$events"
}
