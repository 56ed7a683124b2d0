#!/usr/bin/env python3
"""HTTP/2 of a real listener: negotiated by ALPN, spoken with curl, and proof against raw frames.

  Tests/System/http2_test.py --bin .build/release/holdfast
"""
import argparse, json, os, socket, ssl, struct, subprocess, sys, time
from pathlib import Path

from support import Checks, certificate, free_port, ready, server, workdir

CONFIG = '''
storage "inmem" {{}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_disable = true
}}
listener "tcp" {{
  address = "127.0.0.1:TLSPORT"
  tls_cert_file = "CERT"
  tls_key_file = "KEY"
  max_request_size = 200000
}}
disable_mlock = true
'''
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEALTH = "/v1/sys/health?uninitcode=200&sealedcode=200"
DATA, HEADERS, PRIORITY, RESET, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
CALM = 11


def curl(url, *options, version="--http2", data=None):
    """Status, version and body as curl got them."""
    command = ["curl", "-sk", version, "-m", "20", "-w", "\n%{http_code} %{http_version}", *options, url]
    out = subprocess.run(command, input=data, capture_output=True, timeout=40).stdout
    body, _, tail = out.rpartition(b"\n")
    status, version = tail.decode().split()
    return int(status), version, body


def frame(kind, flags, stream, payload=b""):
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def text(value):
    value = value if isinstance(value, bytes) else value.encode()
    out, rest = bytearray(), len(value)
    if rest < 127:
        out.append(rest)
    else:
        out.append(127)
        rest -= 127
        while rest >= 128:
            out.append(rest % 128 + 128)
            rest //= 128
        out.append(rest)
    return bytes(out) + value


def block(fields):
    return b"".join(b"\x10" + text(n) + text(v) for n, v in fields)


def request(stream, path=HEALTH, more=(), method="GET", end=True):
    fields = [(":method", method), (":scheme", "https"), (":path", path), (":authority", "a"), *more]
    return frame(HEADERS, 5 if end else 4, stream, block(fields))


class Raw:
    """A TLS connection that says whatever it is told to."""

    def __init__(self, port, alpn=("h2",), hello=True):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if alpn:
            context.set_alpn_protocols(list(alpn))
        self.sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10))
        self.sock.settimeout(10)
        self.buffer = b""
        if hello:
            self.send(PREFACE + frame(SETTINGS, 0, 0))

    def send(self, data):
        try:
            self.sock.sendall(data)
            return True
        except OSError:
            return False

    def frames(self, until=lambda f: False, seconds=10):
        """Frames as (kind, flags, stream, payload), until one fits or the connection ends."""
        found, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            while len(self.buffer) >= 9:
                size = int.from_bytes(self.buffer[:3], "big")
                if len(self.buffer) < 9 + size:
                    break
                one = (self.buffer[3], self.buffer[4], int.from_bytes(self.buffer[5:9], "big"), self.buffer[9:9 + size])
                self.buffer = self.buffer[9 + size:]
                found.append(one)
                if until(one):
                    return found
            self.sock.settimeout(max(0.01, end - time.monotonic()))
            try:
                piece = self.sock.recv(65536)
            except (TimeoutError, OSError):
                return found
            if not piece:
                return found
            self.buffer += piece
        return found

    def answered(self, stream):
        return any(f[0] == HEADERS and f[2] == stream for f in self.frames(lambda f: f[0] == HEADERS and f[2] == stream))

    def goaway(self, seconds=10):
        for f in self.frames(lambda f: f[0] == GOAWAY, seconds):
            if f[0] == GOAWAY:
                return int.from_bytes(f[3][4:8], "big")
        return None

    def close(self):
        self.sock.close()


def negotiation(c, tls):
    for offer, chosen in ((("h2", "http/1.1"), "h2"), (("http/1.1", "h2"), "h2"), (("http/1.1",), "http/1.1"),
                          (("spdy/3",), None), ((), None)):
        raw = Raw(tls, offer, hello=False)
        c.equal(f"ALPN {offer} gives {chosen}", raw.sock.selected_alpn_protocol(), chosen)
        raw.close()
    c.equal("curl gets HTTP/2", curl(f"https://127.0.0.1:{tls}{HEALTH}")[:2], (200, "2"))
    c.equal("and HTTP/1.1 when it wants to", curl(f"https://127.0.0.1:{tls}{HEALTH}", version="--http1.1")[:2],
            (200, "1.1"))


def clear_text(c, plain):
    status, version, _ = curl(f"http://127.0.0.1:{plain}{HEALTH}")
    c.equal("an upgrade in clear text is not taken", (status, version), (200, "1.1"))
    with socket.create_connection(("127.0.0.1", plain), 5) as s:
        s.sendall(PREFACE + frame(SETTINGS, 0, 0) + request(1))
        s.settimeout(5)
        answer = s.recv(4096)
    c.that("HTTP/2 in clear text is refused", answer.startswith(b"HTTP/1.1 "), answer[:80])
    c.that("with an error", answer.split(b" ")[1] in (b"400", b"505"), answer[:80])


def work(c, tls, token):
    base, auth = f"https://127.0.0.1:{tls}/v1/", ("-H", f"X-Vault-Token: {token}")
    value = "v" * 150_000
    status, version, _ = curl(base + "secret/data/big", *auth, "-X", "PUT", "--data-binary", "@-",
                              data=json.dumps({"data": {"a": value}}).encode())
    c.equal("a write of 150 kB", (status, version), (200, "2"))
    status, _, body = curl(base + "secret/data/big", *auth)
    c.that("is read back whole", status == 200 and json.loads(body)["data"]["data"]["a"] == value, status)
    c.equal("a wrong token", curl(base + "secret/data/big", "-H", "X-Vault-Token: hvs.none")[0], 403)
    c.equal("none: as in HTTP/1.1", curl(base + "secret/data/big")[0],
            curl(base + "secret/data/big", version="--http1.1")[0])
    c.equal("LIST", curl(base + "secret/metadata", *auth, "-X", "LIST")[0], 200)
    c.equal("a body over the listener's limit", curl(base + "secret/data/big", *auth, "-X", "PUT", "--data-binary",
                                                    "@-", data=b"x" * 200_001)[0], 413)
    status, _, body = curl(base + "secret/data/big", *auth, "-I")
    c.that("HEAD has no body", status in (200, 404, 405) and b'"data"' not in body, (status, body[-200:]))
    for path in ("sys/../sys/health", "sys//health", "sys/%2e%2e/x"):
        one = curl(base + path, "--path-as-is")[0]
        two = curl(base + path, "--path-as-is", version="--http1.1")[0]
        c.equal(f"{path}: as in HTTP/1.1", one, two)
    urls = [f"{base}secret/data/big"] * 40
    out = subprocess.run(["curl", "-skZ", "--http2", "-m", "30", *auth, "-w", "%{http_code} %{num_connects}\n",
                          *sum((["-o", "/dev/null", u] for u in urls), [])], capture_output=True, timeout=60).stdout
    codes = [line.split()[0] for line in out.decode().splitlines()]
    c.equal("40 requests at once", codes, ["200"] * 40)


def streaming(c, tls, token):
    """The log, watched over both versions until the server is sealed."""
    base, auth = f"https://127.0.0.1:{tls}/v1/", ("-H", f"X-Vault-Token: {token}")
    watchers = {v: subprocess.Popen(["curl", "-skN", v, "-m", "20", *auth, base + "sys/monitor?log_format=json"],
                                    stdout=subprocess.PIPE) for v in ("--http2", "--http1.1")}
    time.sleep(1)
    c.equal("others are served beside it", curl(base + "sys/mounts", *auth)[0], 200)
    curl(base + "sys/seal", *auth, "-X", "PUT")
    for version, watcher in watchers.items():
        out, _ = watcher.communicate(timeout=30)
        lines = [json.loads(line)["@message"] for line in out.splitlines()]
        c.equal(f"the log over {version[2:]}, to its end at sealing", (watcher.returncode, lines[-1:]), (0, ["sealed"]))


def hostile(c, tls):
    raw = Raw(tls)
    sent, alive = 0, True
    while alive and sent < 100_000:
        batch = b"".join(request(sent * 2 + 1 + 2 * i) + frame(RESET, 0, sent * 2 + 1 + 2 * i, struct.pack("!I", 8))
                         for i in range(100))
        alive = raw.send(batch)
        sent += 100
        raw.sock.settimeout(0.001)
        try:
            raw.buffer += raw.sock.recv(65536)
        except (TimeoutError, ssl.SSLWantReadError):
            pass
        except OSError:
            alive = False
        if b"\x07\x00\x00\x00\x00\x00" in raw.buffer:
            break
    c.equal("rapid resets: calm down", raw.goaway(3), CALM)
    c.that("and soon", sent < 100_000, sent)
    raw.close()

    raw = Raw(tls)
    raw.send(frame(HEADERS, 0, 1, block([(":method", "GET")])))
    count = 0
    while count < 20_000 and raw.send(frame(CONTINUATION, 0, 1, block([(f"h{count}", "x" * 50)]))):
        count += 1
    c.that("endless continuations are cut", raw.goaway() not in (None, 0))
    raw.close()

    for name, data in {
        "settings on a stream": frame(SETTINGS, 0, 1), "a ping of 7 bytes": frame(PING, 0, 0, b"1234567"),
        "an even stream": request(2), "a frame of 16 MB": b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
        "a window of 2^31": frame(WINDOW, 0, 0, b"\x7f\xff\xff\xff") * 2, "noise": os.urandom(4096),
        "data without a stream": frame(DATA, 1, 5, b"abc"), "broken compression": frame(HEADERS, 5, 1, b"\xff" * 30),
    }.items():
        raw = Raw(tls)
        raw.send(data)
        ended = raw.frames(lambda f: f[0] == GOAWAY, 5)
        c.that(f"{name}: the connection ends", any(f[0] == GOAWAY for f in ended), ended)
        raw.close()

    raw = Raw(tls)
    raw.send(request(1, more=[("x-vault-token", "a"), ("x-vault-token", "b")]) + request(3))
    c.that("a bad request leaves the connection alone", raw.answered(3))
    raw.close()

    # A client that opens no window and reads nothing must not hold memory without end.
    raw = Raw(tls, hello=False)
    raw.send(PREFACE + frame(SETTINGS, 0, 0, struct.pack("!HI", 4, 0)))
    for i in range(100):
        raw.send(request(2 * i + 1))
    others = [Raw(tls) for _ in range(5)]
    for one in others:
        one.send(request(1))
        c.that("others are served", one.answered(1))
        one.close()
    raw.close()


def silence(c, tls):
    """The deadlines of HTTP/1 hold: 10 s for a head."""
    raws = [Raw(tls), Raw(tls, hello=False), Raw(tls)]
    raws[2].send(frame(HEADERS, 0, 1, block([(":method", "GET")])))
    start = time.monotonic()
    for raw in raws:
        raw.frames(seconds=16)
        c.that("silence is cut", time.monotonic() - start < 40, time.monotonic() - start)
        raw.close()


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--bin", required=True, type=Path)
    a = p.parse_args()
    binary, c = a.bin.absolute(), Checks()
    with workdir("http2") as base:
        cert = certificate(base, "server")
        tls = free_port()
        config = CONFIG.replace("TLSPORT", str(tls)).replace("CERT", cert[0]).replace("KEY", cert[1])
        with server(binary, Path(base) / "one", config) as srv:
            client = ready(srv)
            client.must("POST", "sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})
            c.section("negotiation", lambda: negotiation(c, tls))
            c.section("clear text", lambda: clear_text(c, srv.port))
            c.section("requests", lambda: work(c, tls, srv.root))
            c.section("hostile frames", lambda: hostile(c, tls))
            c.section("silence", lambda: silence(c, tls))
            c.section("streams of the log", lambda: streaming(c, tls, srv.root))
            c.equal("the server is still up", curl(f"https://127.0.0.1:{tls}{HEALTH}")[:2], (200, "2"))
            c.that("and the same process", srv.proc.poll() is None)
    return c.close()


if __name__ == "__main__":
    sys.exit(main())
