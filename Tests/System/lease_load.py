#!/usr/bin/env python3
"""Many leases: how long unsealing takes with them, what they cost in memory, how fast they end.

Makes N tokens with a lease each, restarts the server before they end, reads beside it while they do, and
waits until the last one is gone from storage. The figures that the project holds itself to are those of
a release build with --leases 1000000.

  Tests/System/lease_load.py --bin .build/release/holdfast [--leases 2000] [--spread 10] [--shuffle]
"""
import argparse, multiprocessing, random, re, socket, statistics, sys, time
from pathlib import Path

from support import Checks, Client, free_port, ready, server, workdir

UNSEAL_SECONDS = 10.0     # until the first read is answered
MEMORY_MB = 200           # resident, with the pages of the mapped store
LAG_SECONDS = 30          # from the last lease's end to its removal
WORKERS = 2               # processes that make leases
CONNECTIONS = 128         # of each of them


LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


def answer(sock):
    """Takes one answer off a connection. Returns its status."""
    data = sock.recv(1 << 16)
    while True:
        end = data.find(b"\r\n\r\n")
        length = LENGTH.search(data, 0, end) if end >= 0 else None
        if length and len(data) >= end + 4 + int(length[1]):
            return int(data[9:12])
        more = sock.recv(1 << 16)
        if not more:
            raise RuntimeError("the server closed the connection")
        data += more


def create(port, root, ends, done):
    """Makes a token for each moment of `ends`, on many connections in turn, so that commits are shared;
    reports how many were acknowledged."""
    made = 0
    socks = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(CONNECTIONS)]
    head = b"POST /v1/auth/token/create HTTP/1.1\r\nHost: a\r\nX-Vault-Token: " + root.encode()
    for at in range(0, len(ends), CONNECTIONS):
        block, now = ends[at:at + CONNECTIONS], time.time()
        for sock, end in zip(socks, block):
            body = b'{"policies":["default"],"ttl":%d}' % max(1, round(end - now))
            sock.sendall(b"%b\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
        for sock, _ in zip(socks, block):
            made += answer(sock) == 200
    for sock in socks:
        sock.close()
    done.put(made)


def make(port, root, ends):
    """All tokens, from several processes. Returns how many were acknowledged, and the seconds it took."""
    t0, done = time.monotonic(), multiprocessing.Queue()
    workers = [multiprocessing.Process(target=create, args=(port, root, ends[i::WORKERS], done), daemon=True)
               for i in range(WORKERS)]
    for w in workers:
        w.start()
    made = sum(done.get(timeout=3600) for _ in workers)
    for w in workers:
        w.join()
    return made, time.monotonic() - t0


def memory(pid):
    """Resident megabytes: all, and without mapped files."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    mb = lambda name: int(fields[name].split()[0]) / 1024
    return mb("VmRSS"), mb("RssAnon")


def unseal(s):
    """Starts and unseals; seconds until the port answers, and from the key's entry to the first read."""
    t0 = time.monotonic()
    s.start()
    started = time.monotonic() - t0
    c = Client(s.port, s.root, 30)
    t0 = time.monotonic()
    c.must("PUT", "sys/unseal", {"key": s.keys[0]})
    while c.call("GET", "secret/a")[0] != 200:
        time.sleep(0.005)
    return started, time.monotonic() - t0


def watch(s, until, leases):
    """Reads until all leases are gone. Returns the moment, the reads' milliseconds and the most memory."""
    c, reads, most = Client(s.port, s.root, 60), [], (0, 0)
    next_look = until
    while True:
        t0 = time.monotonic()
        status, _ = c.call("GET", "secret/a")
        reads.append((time.monotonic() - t0) * 1000 if status == 200 else float("inf"))
        most = tuple(map(max, most, memory(s.proc.pid)))
        if time.time() >= next_look:
            t0 = time.time()
            if c.call("LIST", "sys/leases/lookup/auth/token/create")[0] == 404:
                return time.time(), reads, most
            # While there are very many, to look takes the server's time: a twentieth of it at most.
            next_look = time.time() + max(0.25, 20 * (time.time() - t0))
            if next_look > until + 10 * LAG_SECONDS + leases / 1000:
                return float("inf"), reads, most
        time.sleep(0.005)


def moments(a, rate):
    """When the leases end, in the order of their making, which takes what `rate` says and some more: three
    times as long where each lies elsewhere in the index of time."""
    first = time.time() + a.leases / rate * (3 if a.shuffle else 1.3) + 10
    ends = [first + a.spread * i / a.leases for i in range(a.leases)]
    if a.shuffle:
        random.Random(1).shuffle(ends)
    return ends


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--bin", required=True, type=Path)
    p.add_argument("--leases", type=int, default=2000)
    p.add_argument("--spread", type=float, default=10, help="seconds over which the leases end")
    p.add_argument("--shuffle", action="store_true", help="let them end in another order than they are made")
    a = p.parse_args()
    checks = Checks()
    with workdir("leases") as base, server(a.bin.absolute(), base, port=free_port()) as s:
        c = ready(s)
        c.must("POST", "sys/mounts/secret", {"type": "kv"})
        c.must("PUT", "secret/a", {"v": 1})
        trial = min(5000, max(100, a.leases // 20))
        _, seconds = make(s.port, s.root, [time.time() + 1] * trial)
        ends = moments(a, trial / seconds)
        first, last = min(ends), max(ends)
        made, seconds = make(s.port, s.root, ends)
        print(f"made {made} leases in {seconds:.1f} s, {made / seconds:.0f}/s; "
              f"the store has {sum(f.stat().st_blocks for f in Path(base).rglob('*')) / 2048:.0f} MB")
        checks.equal("every token is made", made, a.leases)
        checks.that("all are made before the first one ends", time.time() < first - 1, "raise --spread")
        s.stop(60)
        started, took = unseal(s)
        rss, anonymous = memory(s.proc.pid)
        print(f"started in {started:.2f} s, unsealed and reading after {took * 1000:.0f} ms; "
              f"resident {rss:.0f} MB ({anonymous:.0f} anonymous)")
        checks.that("unsealing does not wait for leases", took <= UNSEAL_SECONDS, f"{took:.2f} s")
        checks.that("leases cost no memory", rss <= MEMORY_MB, f"{rss:.0f} MB")
        gone, reads, (rss, anonymous) = watch(s, last, a.leases)
        reads.sort()
        print(f"the last lease was gone {gone - last:.1f} s after its end; {len(reads)} reads meanwhile: median "
              f"{statistics.median(reads):.2f} ms, p99 {reads[len(reads) * 99 // 100]:.2f} ms; resident at most "
              f"{rss:.0f} MB ({anonymous:.0f} anonymous)")
        checks.that("all are gone in time", gone - last <= LAG_SECONDS, f"{gone - last:.1f} s")
        checks.that("memory stays bounded", rss <= MEMORY_MB, f"{rss:.0f} MB")
        left = Client(s.port, s.root, 60).must("LIST", "auth/token/accessors")["data"]["keys"]
        checks.equal("only the root token is left", len(left), 1)
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
