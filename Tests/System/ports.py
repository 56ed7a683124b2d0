"""Ports that no other test has, and that no client of any test can have either.

The system gives a connecting client any free port of its ephemeral range, and keeps that port for a minute
after the connection ends. A server that was promised such a port may then find it taken. So all ports of the
tests lie below that range, and each stage hands out those of its own block only.
"""
import os, random, socket, threading

BLOCK = 300           # of one stage
ROOM = 12_000         # of all stages together
VARIABLE = "TEST_PORTS"


def ephemeral_floor():
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
            return int(f.read().split()[0])
    except OSError:
        return 32_768


def is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)   # as servers bind
        try:
            s.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


class Ports:
    """Hands out the ports of a range in turn, from the beginning again after the last."""

    def __init__(self, first, count):
        self.first, self.count, self.next, self.lock = first, count, 0, threading.Lock()

    def block(self, count=1):
        """The first of `count` neighbouring ports that are all free."""
        with self.lock:
            for _ in range(self.count):
                if self.next + count > self.count:
                    self.next = 0
                first = self.first + self.next
                taken = [p for p in range(first, first + count) if not is_free(p)]
                self.next = (taken[-1] + 1 if taken else first + count) - self.first
                if not taken:
                    return first
        raise RuntimeError(f"no {count} free ports from {self.first} on")

    @staticmethod
    def of_all():
        """Those of a whole run; it begins anywhere, so that two runs seldom meet. Where the system leaves no room
        below its own range, in the midst of that."""
        first = ephemeral_floor() - ROOM
        ports = Ports(first if first > 1_024 else 20_000, ROOM)
        ports.next = random.randrange(ports.count // BLOCK) * BLOCK
        return ports

    @staticmethod
    def of_stage():
        """Those that `run` gave this stage; for a stage that was started by hand, any block."""
        first = os.environ.get(VARIABLE)
        return Ports(int(first) if first else Ports.of_all().block(BLOCK), BLOCK)
