# $1: 1 for an installation, 2 for an upgrade.
getent group rstblame >/dev/null || groupadd --system rstblame
getent passwd rstblame >/dev/null ||
	useradd --system --gid rstblame --no-create-home --home-dir /var/lib/rstblame --shell /sbin/nologin --comment "rstblame agent" rstblame
install -d -o rstblame -g rstblame -m 0750 /var/lib/rstblame /var/log/rstblame
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	# As is the custom with rpm, whether it starts is for the administrator and the presets to say.
	[ "$1" -gt 1 ] || systemctl --quiet preset rstblame.service || :
	[ "$1" -lt 2 ] || systemctl try-restart rstblame.service || :
fi
