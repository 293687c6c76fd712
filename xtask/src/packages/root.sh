#!/bin/sh
# Runs a script on this machine's own file system with a throw-away layer above it, then says what
# it left there. $1: the script, run in the new root; $2: files that may stay, an extended regular
# expression; $3: roots of programs that the machine lacks, each followed by a colon; $4: a
# directory that is the same there; the rest: packages, copied there to be its arguments.
set -eu
script=$1 may_stay=$2 layers=$3 shared=$4
shift 4
# All of this is in a mount namespace of its own, and goes with it.
mount -t tmpfs none /mnt
mkdir /mnt/upper /mnt/work /mnt/root /mnt/lower
# Copied: no layer of an overlay may be inside another, and they are on this machine's root.
(IFS=:; for layer in $layers; do cp -a "$layer/." /mnt/lower; done)
mount -t overlay -o lowerdir=/mnt/lower:/,upperdir=/mnt/upper,workdir=/mnt/work none /mnt/root
for directory in /proc /sys /dev; do
	mount --rbind "$directory" "/mnt/root$directory"
done
for directory in /run /tmp; do
	mount -t tmpfs -o mode=1777 none "/mnt/root$directory"
done
mount --bind "$shared" "/mnt/root$shared"
cp -- "$@" /mnt/root/tmp
ip link set lo up
names=
for package; do
	names="$names /tmp/${package##*/}"
done
# shellcheck disable=SC2086 # the packages have no blanks in their names
chroot /mnt/root /usr/bin/env DEBIAN_FRONTEND=noninteractive bash -c "$script" bash $names
# A file of the lower layer that was removed is a character device in the upper one (kernel:
# overlayfs.rst, whiteouts).
left=$(cd /mnt/upper && find . ! -type d ! -type c -printf '/%P\n' -o -type d -name '*rstblame*' -printf '/%P\n' |
	grep -Ev "^/(var/lib/dpkg|var/cache|var/log/[a-z.]*log\$|etc/(passwd|group|shadow|gshadow|subuid|subgid)-?\$|etc/.pwd.lock\$|root/)" |
	grep -Ev "^($may_stay)\$" || :)
if [ -n "$left" ]; then
	printf 'packages: these stayed behind:\n%s\n' "$left" >&2
	exit 1
fi
