"""A pika application that does what it is told: one JSON object a line on stdin, one answer a line on stdout.

Between commands it serves its connection, as an application should, unless it was told to stall. An answer is an
object; "error" in it names the exception of a command that failed.
"""

import array
import ctypes
import fcntl
import json
import os
import select
import socket
import ssl
import struct
import sys
import termios

import pika

# Seconds between two looks at the connection while there is nothing to do.
TICK = 0.02


class Remembered(socket.socket):
    """A socket that leaves its addresses behind: pika has no name for those of a connection that failed."""

    local = peer = None

    def connect(self, address):
        try:
            super().connect(address)
        finally:
            Remembered.local, Remembered.peer = self.getsockname()[:2], address[:2]


socket.socket = Remembered


def trusting():
    """TLS with whatever certificate the broker has."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Client:
    def __init__(self):
        self.connection = None
        self.stalled = False
        self.lost = None
        self.is_blocked = False

    def open(self, login):
        user = pika.PlainCredentials(login["user"], login["password"])
        self.parameters = pika.ConnectionParameters(
            host=login["host"],
            port=login["port"],
            virtual_host=login["vhost"],
            heartbeat=login["heartbeat"],
            credentials=user,
            ssl_options=pika.SSLOptions(trusting()) if login["tls"] else None,
        )
        return pika.BlockingConnection(self.parameters)

    def addresses(self):
        return {"local": Remembered.local, "peer": Remembered.peer}

    def connect(self, login):
        try:
            self.connection = self.open(login)
        except Exception as error:
            return {"error": repr(error), **self.addresses()}
        self.connection.add_on_connection_blocked_callback(self.on_blocked)
        self.channel = self.connection.channel()
        return self.addresses()

    def on_blocked(self, *_):
        self.is_blocked = True

    def sock(self):
        """The socket of the connection, for which pika has no public name."""
        return self.connection._impl._transport._sock

    def consume(self, login):
        """Connects, gets a delivery into its receive queue, and does not read it."""
        answer = self.connect(login)
        queue = self.channel.queue_declare("", auto_delete=True).method.queue
        self.channel.basic_consume(queue, lambda *_: None, auto_ack=True)
        self.stalled = True
        publisher = self.open(login)
        other = self.addresses()
        publisher.channel().basic_publish("", queue, b"x" * 1000)
        readable, _, _ = select.select([self.sock()], [], [], 15)
        if not readable:
            raise TimeoutError("no delivery within 15 s")
        publisher.close()
        count = array.array("i", [0])
        fcntl.ioctl(self.sock(), termios.FIONREAD, count)
        return {**answer, "unread": count[0], "publisher": other}

    def subscribe(self, what):
        """Consumes a queue, and goes on reading."""
        self.channel.queue_declare(what["queue"], auto_delete=True)
        self.channel.basic_consume(what["queue"], lambda *_: None, auto_ack=True)
        return {}

    def hold(self, what):
        """Consumes a message of its own, and does not acknowledge it."""
        held = []
        self.channel.queue_declare(what["queue"], auto_delete=True)
        self.channel.basic_consume(what["queue"], lambda *_: held.append(1))
        self.channel.basic_publish("", what["queue"], b"held")
        while not held:
            self.connection.process_data_events(0.1)
        return {}

    def channel_lost(self, _):
        """Serves the connection until the broker has closed the channel."""
        while self.channel.is_open:
            self.connection.process_data_events(0.1)
        return {}

    def publish(self, what):
        self.channel.basic_publish("", what["queue"], what["body"].encode())
        return {}

    def blocked(self, _):
        """Publishes until the broker says that it does not read any more."""
        while not self.is_blocked:
            self.channel.basic_publish("", "nowhere", b"x")
            self.connection.process_data_events(0.02)
        return {}

    def mistake(self, _):
        """Acknowledges what never came, and waits until the broker has closed the channel."""
        self.channel.basic_ack(99)
        while self.channel.is_open:
            self.connection.process_data_events(0.1)
        return {}

    def ended(self, _):
        """Serves the connection until it is lost, and tells of what."""
        self.stalled = False
        while self.lost is None:
            self.serve(0.1)
        return {"of": self.lost}

    def stall(self, _):
        self.stalled = True
        return {}

    def hasten(self, _):
        """Lets every close from now on send a RST."""
        self.sock().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return {}

    def linger(self, _):
        self.hasten(_)
        return self.drop(_)

    def drop(self, _):
        """Closes the socket under the library."""
        self.stalled = True
        self.sock().close()
        return {}

    def close(self, _):
        try:
            self.connection.close()
        except pika.exceptions.AMQPError:
            # The broker may end the connection before pika has read its answer.
            pass
        self.stalled = True
        return {}

    def exit(self, _):
        os._exit(0)

    def segv(self, _):
        ctypes.string_at(0)

    def eat(self, _):
        eaten = []
        while True:
            eaten.append(b"x" * (1 << 20))

    def serve(self, seconds):
        try:
            self.connection.process_data_events(seconds)
        except pika.exceptions.AMQPError as error:
            self.stalled = True
            self.lost = repr(error)


def main():
    client = Client()
    while True:
        told, _, _ = select.select([0], [], [], TICK)
        if not told:
            if client.connection and not client.stalled:
                client.serve(0)
            continue
        line = sys.stdin.readline()
        if not line:
            return
        command = json.loads(line)
        try:
            answer = getattr(client, command["do"])(command)
        except Exception as error:
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)


main()
