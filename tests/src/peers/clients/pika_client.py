"""A pika application that leaves its connection in one particular way.

Usage: pika_client.py HOW HOST PORT [COUNT]

  unread  closes the socket while deliveries wait in its receive queue
  linger  closes the socket with SO_LINGER 0
  cycle   opens and closes COUNT connections in order, as an application should

Prints one JSON line: its own pid, and for unread and linger the address of the socket and the bytes left in its
receive queue when it closed.
"""

import array
import fcntl
import json
import os
import select
import socket
import struct
import sys
import termios

import pika


def connect(host, port):
    return pika.BlockingConnection(
        pika.ConnectionParameters(host=host, port=port, heartbeat=60)
    )


def raw_socket(connection):
    """The socket of a connection, for which pika has no public name."""
    return connection._impl._transport._sock


def unread_bytes(sock):
    count = array.array("i", [0])
    fcntl.ioctl(sock, termios.FIONREAD, count)
    return count[0]


def leave(sock):
    """Closes the socket under the library, and ends before the library notices."""
    local = sock.getsockname()
    unread = unread_bytes(sock)
    sock.close()
    report = {"pid": os.getpid(), "local": [local[0], local[1]], "unread": unread}
    print(json.dumps(report), flush=True)
    os._exit(0)


def unread(host, port):
    consumer = connect(host, port)
    channel = consumer.channel()
    queue = channel.queue_declare("", exclusive=False, auto_delete=True).method.queue
    channel.basic_consume(queue, lambda *_: None, auto_ack=True)
    # From here on the consumer does not run its I/O loop: an application stuck in its own work.
    publisher = connect(host, port)
    publisher.channel().basic_publish("", queue, b"x" * 1000)
    readable, _, _ = select.select([raw_socket(consumer)], [], [], 15)
    if not readable:
        sys.exit("no delivery within 15 s")
    leave(raw_socket(consumer))


def linger(host, port):
    connection = connect(host, port)
    connection.channel()
    sock = raw_socket(connection)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    leave(sock)


def cycle(host, port, count):
    for _ in range(count):
        connection = connect(host, port)
        connection.channel()
        connection.close()
    print(json.dumps({"pid": os.getpid()}), flush=True)


def main():
    how, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if how == "cycle":
        cycle(host, port, int(sys.argv[4]))
    else:
        {"unread": unread, "linger": linger}[how](host, port)


main()
