#!/bin/busybox sh
# Process 1 of the guest: runs the lab's test programs and says how they ended, in lines that begin with "vm:".
export PATH=/usr/sbin:/usr/bin:/sbin:/bin RSTBLAME_BIN=/usr/bin/rstblame RUST_BACKTRACE=0 RSTBLAME_LAB_PATIENCE=6 RSTBLAME_LAB_TABLE=/tmp/table
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /root /sbin /usr/sbin
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox mount -t tmpfs tmpfs /tmp
/bin/busybox mount -t tmpfs tmpfs /run
# Also /sbin/modprobe, by which the kernel loads what it needs. What is there already stays.
/bin/busybox --install -s 2> /dev/null
mount -t tracefs tracefs /sys/kernel/tracing
ip link set lo up
echo "vm: running $(uname -r)"
# Says how something ended, and how long after the start.
since() {
    read -r uptime _ < /proc/uptime
    echo "vm: $1 exit $2 at $uptime s"
}
rstblame check > /tmp/said 2>&1
status=$?
sed "s,^,    ," /tmp/said
since check $status
# What it says of this kernel when it arms in earnest; see `Report::lacking`.
rstblame capture --format json --duration 1s > /tmp/said 2>&1
status=$?
sed "s,^,    ," /tmp/said
since capture $status
# As the systemd unit has it: before Linux 5.11 maps count, and an agent without CAP_SYS_RESOURCE cannot lift the limit. Those above had to.
ulimit -l unlimited
for test in /tests/*; do
    filter=$(cat "/filters/${test##*/}" 2>/dev/null)
    # One test at a time: an emulated processor is slow, and the tests wait for seconds at most.
    timeout 240 "$test" --test-threads=1 $filter > /tmp/said 2>&1
    status=$?
    sed "s,^,    ," /tmp/said
    since "${test##*/}" $status
done
# Each verdict beside the truth, as the lab writes them down.
touch /tmp/table
sed 's,^,    verdict ,' /tmp/table
dmesg | sed 's/^/dmesg: /' | grep -E 'WARNING|BUG|Call Trace|Oops|stall|rstblame'
echo "vm: done"
poweroff -f
