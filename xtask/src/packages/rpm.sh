# $1: the package; $2: an older one.
new=$1 older=$2
unit=/usr/lib/systemd/system/rstblame.service

# A database of its own. What a package needs is not looked for in it: this machine's programs are not there.
rpm_() {
	rpm --force-debian --dbpath /tmp/rpmdb --nodeps "$@"
}

step 'rpm: install' rpm_ --install "$older"
step 'rpm: has a user' getent passwd rstblame
step 'rpm: older default' grep -qx 'settle = "2s"' "$config"
sed -i "s/^ports = .*/ports = [$port]/" "$config"
step 'rpm: upgrade' rpm_ --upgrade "$new"
step 'rpm: one version is there' test "$(rpm --dbpath /tmp/rpmdb --query rstblame)" = "$(rpm --query --package "$new")"
step 'rpm: changed configuration is kept' grep -qx "ports = \[$port\]" "$config"
step 'rpm: new configuration is beside it' grep -qx 'settle = "1s"' "$config.rpmnew"
step 'rpm: configuration is valid' as_user rstblame daemon --check-config --config "$config"
step 'rpm: unit is valid' unit_is_valid "$unit"
step 'rpm: nothing but what was changed differs' test "$(rpm --dbpath /tmp/rpmdb --verify --nodeps rstblame | sed 's/^[^/]*//')" = "$config"
step 'rpm: agent works as the unit runs it' agent_works "$unit"
step 'rpm: remove' rpm_ --erase rstblame
step 'rpm: program is gone' test ! -e /usr/bin/rstblame
