# One fresh machine: a new root file system, and in it what the README says, up to a scenario of the
# lab. $1: the directory of the machine; $2: suite; $3: archive; $4: archive of security updates;
# $5: keyring; $6: the repository; $7: suite to upset it with, or nothing. All that is mounted is
# mounted in a mount namespace of its own, and goes with it.
set -euo pipefail
machine=$1 suite=$2 archive=$3 security=$4 keys=$5 repository=$6 upset=$7
root=$machine/root
rustup=${RUSTUP_HOME:-$HOME/.rustup} cargo=${CARGO_HOME:-$HOME/.cargo}

# Says what is done, and how long it took; the whole of it is in the log.
step() {
	local what=$1 began=$SECONDS
	shift
	if "$@" >> "$machine/log" 2>&1; then
		echo "fresh: $suite: $what: $((SECONDS - began)) s"
	else
		echo "fresh: $suite: $what: failed after $((SECONDS - began)) s: $*" >&2
		tail -n 40 "$machine/log" >&2
		exit 1
	fi
}

inside() {
	chroot "$root" /usr/bin/env -C /root/rstblame HOME=/root RUSTUP_HOME=/opt/rustup CARGO_HOME=/opt/cargo CARGO_TARGET_DIR=/root/target \
		PATH=/opt/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"
}

sources() {
	{
		echo "deb [signed-by=/keys.gpg] $archive $suite main"
		echo "deb [signed-by=/keys.gpg] $archive $suite-updates main"
		echo "deb [signed-by=/keys.gpg] $security $suite-security main"
	} > "$root/etc/apt/sources.list"
}

# What is there when somebody clones: a compiler of C, which Rust links with, and git.
make_root() {
	debootstrap --keyring="$keys" --variant=minbase --include=ca-certificates,gcc,libc6-dev,git "$suite" "$root" "$archive"
	cp "$keys" "$root/keys.gpg"
	sources
	# Every installer writes it, and debootstrap does not.
	printf '127.0.0.1 localhost\n::1 localhost\n' > "$root/etc/hosts"
	# What lets this machine reach its archives and registries lets that one.
	cp /etc/resolv.conf "$root/etc/resolv.conf"
	if [ -e /etc/ssl/certs/ca-certificates.crt ]; then cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"; fi
	if [ -e /etc/pip.conf ]; then cp /etc/pip.conf "$root/etc/pip.conf"; fi
}

mount_all() {
	local directory
	# The root of a machine is a mount point: `ip netns exec` changes how it propagates.
	mount --bind "$root" "$root"
	for directory in proc sys dev; do
		mount --rbind "/$directory" "$root/$directory"
	done
	mount -t tmpfs none "$root/run"
	mkdir -p "$root/opt/rustup" "$root/opt/cargo/bin" "$root/opt/cargo/registry"
	mount --bind -o ro "$rustup" "$root/opt/rustup"
	# What is downloaded once is downloaded; nothing else of this user's is there, above all no
	# bpf-linker.
	mount --bind "$cargo/registry" "$root/opt/cargo/registry"
	cp -P "$cargo"/bin/{cargo,rustc,rustdoc,rustfmt,rustup} "$root/opt/cargo/bin/"
}

# As an image may be that was made for something else: programs from a suite that it then no longer
# installs from.
upset() {
	echo "deb [signed-by=/keys.gpg] $archive $upset main" >> "$root/etc/apt/sources.list"
	inside apt-get update --quiet=2
	inside apt-get install --quiet=2 --yes --no-install-recommends --target-release "$upset" qemu-utils llvm
	sources
}

clone() {
	git clone --quiet "$repository" "$root/root/rstblame"
}

mkdir -p "$machine"
: > "$machine/log"
step "a new root file system" make_root
mount_all
step "clone" clone
mkdir -p "$root/root/target"
if [ -n "$upset" ]; then step "qemu-utils and llvm from $upset" upset; fi
step "cargo xtask setup" inside cargo xtask setup
step "cargo xtask build" inside cargo xtask build
step "cargo xtask setup --tests" inside cargo xtask setup --tests
step "cargo xtask setup --tests --check" inside cargo xtask setup --tests --check
step "cargo xtask lab ordinary::pika_closes" inside cargo xtask lab ordinary::pika_closes
step "cargo xtask demo" inside cargo xtask demo
