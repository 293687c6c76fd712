# $1: the package.
new=$1
unit=/usr/lib/systemd/system/rstblame.service
wanted=/etc/systemd/system/multi-user.target.wants/rstblame.service

# The version before: a lower number, and other defaults in both files of configuration.
older() {
	dpkg-deb --raw-extract "$new" /tmp/older
	sed -i 's/^Version: .*/Version: 0.0.1-1/' /tmp/older/DEBIAN/control
	sed -i 's/^settle = "1s"/settle = "2s"/' /tmp/older/etc/rstblame/rstblame.toml
	sed -i 's/rotate 14/rotate 7/' /tmp/older/etc/logrotate.d/rstblame
	dpkg-deb -Znone --root-owner-group --build /tmp/older /tmp/older.deb
}

step 'deb: lintian' lintian --allow-root --fail-on error,warning "$new"
step 'deb: make an older one' older
step 'deb: install' dpkg --install /tmp/older.deb
step 'deb: has a user' getent passwd rstblame
step 'deb: is enabled' test -L "$wanted"
step 'deb: configuration is valid' as_user rstblame daemon --check-config --config "$config"
step 'deb: older default' grep -qx 'settle = "2s"' "$config"
sed -i "s/^ports = .*/ports = [$port]/" "$config"
step 'deb: administrator disables it' systemctl disable rstblame.service
# As apt does for an administrator who is not asked.
step 'deb: upgrade' dpkg --force-confdef --force-confold --install "$new"
step 'deb: new version' test "$(dpkg-query --show --showformat '${Version}' rstblame)" = "$(dpkg-deb --field "$new" Version)"
step 'deb: changed configuration is kept' grep -qx "ports = \[$port\]" "$config"
step 'deb: new configuration is beside it' grep -qx 'settle = "1s"' "$config.dpkg-dist"
step 'deb: unchanged configuration is replaced' grep -q 'rotate 14' /etc/logrotate.d/rstblame
step 'deb: what was disabled stays so' test ! -e "$wanted"
step 'deb: unit is valid' unit_is_valid "$unit"
step 'deb: logrotate takes its rules' logrotate --debug /etc/logrotate.d/rstblame
step 'deb: manual' test -s /usr/share/man/man1/rstblame-daemon.1.gz
step 'deb: agent works as the unit runs it' agent_works "$unit"
step 'deb: remove' dpkg --remove rstblame
step 'deb: program is gone' test ! -e /usr/bin/rstblame
step 'deb: configuration and events stay' test -e "$config" -a -e "$events"
step 'deb: purge' dpkg --purge rstblame
