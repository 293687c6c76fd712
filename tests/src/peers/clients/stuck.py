"""A program whose /proc/PID/cmdline cannot be read: one of its threads holds the lock on its memory
map for good. Whoever reads waits for it. It holds connections, and resets each when it is told to.

It serves a file system that never answers reads. One thread reads a file of it, whose page stays
locked for that. Another maps the file, opened past the page cache: the kernel drops the file's pages
first, with the lock on the memory map held (fuse_file_mmap(),
https://github.com/torvalds/linux/blob/v6.12/fs/fuse/file.c), and waits for the locked one.

Root mounts the file system and gives its rights up then: what an unprivileged user does in a user
namespace of its own. The protocol is that of
https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/fuse.h.
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

# Seconds.
LONGEST = 40

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]


def checked(result, what):
    if result in (-1, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def attributes(node):
    """struct fuse_attr: the root directory is node 1, the file node 2."""
    mode, size = (0o40755, 0) if node == 1 else (0o100644, PAGE)
    return struct.pack("<6Q10I", node, size, 1, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, PAGE, 0)


def serve(device, end):
    """Until it is told to end, or has run for too long: nobody is left to wait for good. Closing the
    device is all that ends those waits, the threads' of this process among them."""
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


def main():
    directory, address, port, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    device = os.open("/dev/fuse", os.O_RDWR)
    checked(libc.unshare(0x20000), "unshare the mounts")
    checked(libc.mount(b"none", b"/", None, 0x44000, None), "keep the mounts to itself")
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    checked(libc.mount(b"stuck", directory.encode(), b"fuse", 6, options), "mount a file system of its own")
    end = threading.Event()
    server = threading.Thread(target=serve, args=(device, end))
    server.start()
    path = os.path.join(directory, "page")
    cached, direct = os.open(path, os.O_RDONLY), os.open(path, os.O_RDONLY)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connections = []
    for _ in range(count):
        connection = socket.socket(family)
        connection.connect((address, port))
        connections.append(connection)
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    ports = " ".join(str(connection.getsockname()[1]) for connection in connections)
    linger = struct.pack("ii", 1, 0)
    threading.Thread(target=read, args=(cached,), daemon=True).start()
    # PROT_READ, MAP_PRIVATE.
    threading.Thread(target=libc.mmap, args=(None, PAGE, 1, 2, direct, 0), daemon=True).start()
    # From here on nothing of this process may need a new mapping.
    time.sleep(0.3)
    os.write(1, f"{ports}\n".encode())
    for connection in connections:
        if not os.read(0, 1):
            break
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.close()
        os.write(1, b"reset\n")
    os.read(0, 1)
    end.set()
    server.join()


main()
