"""A program whose /proc/PID/cmdline cannot be read: one of its threads holds the lock on its memory
map for good. Whoever reads waits for it. It holds connections, and resets each when it is told to.

It serves a file system that never answers reads. One thread reads a file of it, whose page stays
locked for that. Another maps the file, opened past the page cache: the kernel drops the file's
pages first, with the lock on the memory map held (fuse_file_mmap(),
https://github.com/torvalds/linux/blob/v6.12/fs/fuse/file.c), and waits for the locked one.

All of that it does as a user without privileges, who mounts the file system in user and mount
namespaces of its own. Root only lends it what most distributions let everybody open: /dev/fuse, as
a node in a directory that nobody else sees. Where users may make no such namespaces, root mounts it
for them. The protocol is that of
https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/fuse.h.

Its arguments are the number of the user, and the address, the port and the number of its
connections. What it says first is who mounted the file system ("user" or "root"), the number of
it, and the ports.
"""

import ctypes
import os
import select
import socket
import struct
import sys
import threading
import time

LOOKUP, GETATTR, OPEN, READ, INIT = 1, 3, 14, 15, 26
PAGE = 4096

CLONE_NEWNS, CLONE_NEWUSER, PR_SET_DUMPABLE = 0x20000, 0x10000000, 4

# A directory that is there: what is mounted on it is in namespaces of its own.
PLACE = "/tmp"

# Seconds.
LONGEST = 40
SOON = 10

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]


def checked(result, what):
    if result in (-1, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def attributes(node):
    """struct fuse_attr: the root directory is node 1, the file node 2."""
    mode, size = (0o40755, 0) if node == 1 else (0o100644, PAGE)
    return struct.pack("<6Q10I", node, size, 1, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, PAGE, 0)


def serve(device, asked, end):
    """Answers all but reads, and tells when one is asked for. Until it is told to end, or has run
    for too long: nobody is left to wait for good. Closing the device is all that ends those waits,
    the threads' of this process among them."""
    opened = 0
    deadline = time.monotonic() + LONGEST
    while not end.is_set() and time.monotonic() < deadline:
        if not select.select([device], [], [], 0.05)[0]:
            continue
        try:
            request = os.read(device, 1 << 17)
        except OSError:
            continue
        _, operation, unique, node = struct.unpack_from("<IIQQ", request)
        error, body = 0, b""
        if operation == INIT:
            major, _, ahead = struct.unpack_from("<III", request, 40)
            body = struct.pack("<IIIIHHIIHH8I", major, 31, ahead, 0, 12, 9, PAGE, 1, 0, 0, *[0] * 8)
        elif operation == LOOKUP:
            body = struct.pack("<QQQQII", 2, 0, 3600, 3600, 0, 0) + attributes(2)
        elif operation == GETATTR:
            body = struct.pack("<QII", 3600, 0, 0) + attributes(node)
        elif operation == OPEN:
            # FOPEN_DIRECT_IO, but for the first.
            body = struct.pack("<QII", opened, min(opened, 1), 0)
            opened += 1
        elif operation == READ:
            asked.set()
            continue
        else:
            error = -38
        answer = struct.pack("<IiQ", 16 + len(body), error, unique) + body
        try:
            os.write(device, answer)
        except OSError:
            pass
    os.close(device)
    os._exit(0)


def read(file):
    try:
        os.read(file, 1)
    except OSError:
        # The file system has ended.
        pass


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def lend():
    """A node of /dev/fuse that everybody may open."""
    checked(libc.unshare(CLONE_NEWNS), "unshare the mounts")
    # MS_REC | MS_PRIVATE
    checked(libc.mount(b"none", b"/", None, 0x44000, None), "keep the mounts to itself")
    checked(libc.mount(b"none", PLACE.encode(), b"tmpfs", 0, b"mode=755"), "mount a directory for the device")
    node = os.path.join(PLACE, "fuse")
    os.mknod(node, 0o20666, os.makedev(10, 229))
    os.chmod(node, 0o666)
    return node


def become(user):
    """A user without privileges."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def isolate(user):
    """Makes a user root of namespaces of its own."""
    # Nobody may look at a program that was root's; the files below /proc that it writes are root's
    # then.
    checked(libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), "be looked at")
    checked(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare user and mounts")
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"0 {user} 1")
    write("/proc/self/gid_map", f"0 {user} 1")


def mount(node):
    """A file system of its own; returns what serves it. Both have to be done in one user
    namespace."""
    device = os.open(node, os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    # MS_NOSUID | MS_NODEV
    checked(libc.mount(b"stuck", PLACE.encode(), b"fuse", 6, options), "mount a file system of its own")
    return device


def may_mount(user, node):
    """Whether a user may mount a file system of its own: tried by another process."""
    child = os.fork()
    if child == 0:
        try:
            become(user)
            isolate(user)
            mount(node)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def wait_until_it_waits(thread):
    """Until a thread waits for what no signal ends. Its stat(5) is read without the memory map."""
    stat = os.open(f"/proc/self/task/{thread.native_id}/stat", os.O_RDONLY)
    deadline = time.monotonic() + SOON
    while os.pread(stat, 256, 0).rpartition(b")")[2].split()[0] != b"D":
        if time.monotonic() > deadline:
            os.write(1, b"its memory map is not held\n")
            os._exit(1)
        time.sleep(0.01)


def main():
    user, address, port, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    node = lend()
    own = may_mount(user, node)
    if own:
        become(user)
        isolate(user)
    device = mount(node)
    asked, end = threading.Event(), threading.Event()
    server = threading.Thread(target=serve, args=(device, asked, end))
    server.start()
    path = os.path.join(PLACE, "page")
    cached, direct = os.open(path, os.O_RDONLY), os.open(path, os.O_RDONLY)
    # What names the connection with the kernel, for whoever has to abort it.
    number = os.minor(os.fstat(cached).st_dev)
    if not own:
        become(user)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connections = []
    for _ in range(count):
        connection = socket.socket(family)
        connection.connect((address, port))
        connections.append(connection)
    ports = " ".join(str(connection.getsockname()[1]) for connection in connections)
    linger = struct.pack("ii", 1, 0)
    threading.Thread(target=read, args=(cached,), daemon=True).start()
    asked.wait(SOON)
    # PROT_READ, MAP_PRIVATE.
    holder = threading.Thread(target=libc.mmap, args=(None, PAGE, 1, 2, direct, 0), daemon=True)
    holder.start()
    # From here on nothing of this process may need a new mapping.
    wait_until_it_waits(holder)
    os.write(1, f"{'user' if own else 'root'} {number} {ports}\n".encode())
    for connection in connections:
        if not os.read(0, 1):
            break
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.close()
        os.write(1, b"reset\n")
    os.read(0, 1)
    end.set()
    server.join()


try:
    main()
except OSError as error:
    os.write(1, f"{error}\n".encode())
    os._exit(1)
