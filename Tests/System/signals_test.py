#!/usr/bin/env python3
"""Starts and ends of a real server: graceful shutdown, SIGHUP, and starts that must fail with a clear word.

  Tests/System/signals_test.py --bin .build/release/holdfast
"""
import argparse, os, re, signal, socket, stat, subprocess, sys, threading, time
from pathlib import Path

from support import Checks, Client, FILE_CONFIG, Refused, Unknown, free_port, log_of, ready, server, workdir


def wait_exit(srv, seconds):
    """Exit status, or None when the server still runs."""
    try:
        return srv.proc.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return False
    except OSError:
        return True


def graceful(c, binary, base):
    with server(binary, Path(base) / "graceful") as srv:
        client = ready(srv)
        client.must("POST", "sys/mounts/kv", {"type": "kv"})
        client.must("POST", "kv/before", {"v": "1"})
        body = b'{"v":"in flight"}'
        slow = socket.create_connection(("127.0.0.1", srv.port), 5)
        slow.sendall(b"POST /v1/kv/flight HTTP/1.1\r\nHost: x\r\nX-Vault-Token: " + srv.root.encode()
                     + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:5])
        idle = socket.create_connection(("127.0.0.1", srv.port), 5)
        time.sleep(0.2)
        srv.send(signal.SIGTERM)
        time.sleep(0.3)
        slow.sendall(body[5:])
        slow.settimeout(5)
        try:
            answer = slow.recv(4096)
        except OSError as e:
            answer = repr(e).encode()
        c.that("a request that had begun is answered", answer.startswith(b"HTTP/1.1 "), answer[:100])
        done = answer.startswith(b"HTTP/1.1 204")
        slow.close()
        c.equal("SIGTERM: exit status", wait_exit(srv, 10), 0)
        c.that("idle connections are closed", idle.recv(10) == b"")
        c.that("the port is free", refused(srv.port))
        srv.start()
        srv.unseal(srv.keys)
        client = Client(srv.port, srv.root, 10)
        c.equal("data is there after the restart", client.must("GET", "kv/before")["data"], {"v": "1"})
        c.equal("what was acknowledged is kept", client.call("GET", "kv/flight")[0], 200 if done else 404)
        srv.send(signal.SIGINT)
        c.equal("SIGINT: exit status", wait_exit(srv, 10), 0)


def under_load(c, binary, base):
    """Every request that was answered with success before and during SIGTERM is there afterwards."""
    with server(binary, Path(base) / "load") as srv:
        ready(srv).must("POST", "sys/mounts/kv", {"type": "kv"})
        acknowledged, strange = [], []

        def writer(n):
            client = Client(srv.port, srv.root, 5)
            for i in range(100000):
                try:
                    status, out = client.call("POST", f"kv/w{n}-{i}", {"v": i})
                except (Refused, Unknown):
                    return
                if status == 204:
                    acknowledged.append(f"w{n}-{i}")
                elif status != 503:
                    strange.append((status, out))
                else:
                    return

        threads = [threading.Thread(target=writer, args=(n,)) for n in range(8)]
        for t in threads:
            t.start()
        time.sleep(1)
        t0 = time.monotonic()
        srv.send(signal.SIGTERM)
        c.equal("SIGTERM under load: exit status", wait_exit(srv, 10), 0)
        c.that("it ends soon", time.monotonic() - t0 < 20, f"{time.monotonic() - t0:.1f} s")
        for t in threads:
            t.join()
        c.that("writes were made", len(acknowledged) > 50, len(acknowledged))
        c.equal("no strange answers", strange[:3], [])
        srv.start()
        srv.unseal(srv.keys)
        listed = set(Client(srv.port, srv.root, 20).must("LIST", "kv/")["data"]["keys"])
        c.equal("nothing acknowledged is lost", len(set(acknowledged) - listed), 0)


def hangup(c, binary, base):
    with server(binary, Path(base) / "hangup") as srv:
        client = ready(srv)
        for _ in range(5):
            srv.send(signal.SIGHUP)
            time.sleep(0.1)
        c.equal("SIGHUP leaves it unsealed and answering", client.call("GET", "sys/health")[0], 200)
        for _ in range(50):                              # answers to clients that have gone: SIGPIPE
            with socket.create_connection(("127.0.0.1", srv.port), 5) as s:
                s.sendall(b"GET /v1/sys/health HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        c.equal("clients that go away harm nobody", client.call("GET", "sys/health")[0], 200)


def fails(c, name, binary, base, text, said, filename="config.hcl"):
    """A start that must end at once, not with 0, and say `said` (a regular expression)."""
    folder = Path(base) / "fails"
    folder.mkdir(exist_ok=True)
    path = folder / filename
    path.write_text(text)
    try:
        out = subprocess.run([binary, "server", f"-config={path}"], capture_output=True, timeout=10, cwd=folder)
    except subprocess.TimeoutExpired as e:
        return c.that(name, False, f"it started: {(e.stdout or b'')[-300:]}")
    text = (out.stdout + out.stderr).decode(errors="replace")
    c.that(f"{name}: exit status", 0 < out.returncode < 128, out.returncode)
    c.that(f"{name}: what it says", re.search(said, text, re.I), text[-400:])


def wrong_starts(c, binary, base):
    port = free_port()
    listener = f'listener "tcp" {{\n  address = "127.0.0.1:{port}"\n  tls_disable = true\n}}\n'
    store = 'storage "inmem" {}\n'
    fails(c, "no storage", binary, base, listener, "storage")
    fails(c, "unknown storage", binary, base, 'storage "nonesuch" {}\n' + listener, "nonesuch")
    fails(c, "syntax", binary, base, store + "listener {{{\n", r"config\.hcl, line 2")
    fails(c, "wrong type", binary, base, store + listener + 'default_lease_ttl = "soon"\n', r"config\.hcl, line 6.*default_lease_ttl")
    fails(c, "address", binary, base, store + 'listener "tcp" {\n  address = "nowhere:port"\n  tls_disable = true\n}\n', "address|nowhere")
    fails(c, "no certificate", binary, base, store + f'listener "tcp" {{\n  address = "127.0.0.1:{port}"\n}}\n', "tls_cert_file")
    fails(c, "JSON", binary, base, '{"storage": {"inmem": {}}, ', r"config\.json", "config.json")
    fails(c, "a file as storage path", binary, base,
          f'storage "file" {{ path = "{base}/fails/config.hcl" }}\n' + listener, "path|directory")
    with server(binary, Path(base) / "first") as srv:
        ready(srv)
        busy = f'listener "tcp" {{\n  address = "127.0.0.1:{srv.port}"\n  tls_disable = true\n}}\n'
        fails(c, "a port in use", binary, base, store + busy, "in use|EADDRINUSE")
        fails(c, "storage in use", binary, base, f'storage "file" {{ path = "{srv.fields["data"]}" }}\n' + listener,
              "in use|locked|another")
        c.equal("the first server goes on", Client(srv.port).call("GET", "sys/health")[0], 200)
    for name, path in {"missing file": "missing.hcl", "empty folder": "."}.items():
        empty = Path(base) / "empty"
        empty.mkdir(exist_ok=True)
        out = subprocess.run([binary, "server", f"-config={empty / path}"], capture_output=True, timeout=10)
        c.that(name, 0 < out.returncode < 128, out.returncode)


def tolerated(c, binary, base):
    text = FILE_CONFIG + 'no_such_setting = "x"\n'
    with server(binary, Path(base) / "unknown", text) as srv:
        ready(srv)
        c.that("an unknown key is only warned of", "no_such_setting" in log_of(srv), log_of(srv)[-300:])
        for folder, _, names in os.walk(srv.fields["data"]):
            for name in names:
                mode = stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode)
                c.that(f"{name} is readable by its owner only", mode & 0o077 == 0, oct(mode))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--bin", required=True, type=Path)
    a = p.parse_args()
    binary, c = a.bin.absolute(), Checks()
    with workdir("signals") as base:
        for title, part in {"graceful shutdown": graceful, "shutdown under load": under_load, "SIGHUP and SIGPIPE": hangup,
                            "starts that must fail": wrong_starts, "what a start tolerates": tolerated}.items():
            c.section(title, lambda: part(c, binary, base))
    return c.close()


if __name__ == "__main__":
    sys.exit(main())
