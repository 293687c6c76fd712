# $1: 0 after a removal, 1 after an upgrade.
[ ! -d /run/systemd/system ] || systemctl daemon-reload || :
# rpm removes directories that a package owns, which cargo-generate-rpm has no way to say.
[ "$1" -gt 0 ] || rmdir --ignore-fail-on-non-empty /usr/share/doc/rstblame/examples /usr/share/doc/rstblame /usr/share/licenses/rstblame /etc/rstblame 2>/dev/null || :
