# $1: 0 for a removal, 1 for an upgrade.
if [ "$1" -eq 0 ] && [ -d /run/systemd/system ]; then
	systemctl --quiet disable --now rstblame.service || :
fi
