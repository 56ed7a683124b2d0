#!/usr/bin/env python3
"""Audit devices on a real server: rotation, a full disk, kill -9, hostile text, many clients at once.

  Tests/System/audit_test.py --bin .build/release/holdfast
"""
import argparse, http.client, json, os, resource, signal, socket, subprocess, sys, threading, time
from pathlib import Path

from support import Checks, Client, FILE_CONFIG, Refused, Server, Unknown, free_port, log_of, ready, server, until, workdir


def records(path):
    """The log's records. A line that is none, or one that is cut short, fails here."""
    text = Path(path).read_text()
    if text and not text.endswith("\n"):
        raise ValueError("the log ends in the middle of a record: " + text[-80:])
    return [json.loads(line) for line in text.splitlines()]


def enable(client, path, log, **options):
    client.must("PUT", f"sys/audit/{path}", {"type": "file", "options": {"file_path": str(log), **options}})


def rotation(c, binary, base):
    log = Path(base) / "audit.log"
    with server(binary, Path(base) / "server") as srv:
        client = ready(srv)
        enable(client, "file", log)
        client.must("GET", "sys/mounts")
        log.rename(log.with_suffix(".1"))
        srv.send(signal.SIGHUP)
        client.must("GET", "sys/auth")
        c.that("SIGHUP: the next record goes to a new file", until(lambda: log.exists()))
        paths = [r["request"]["path"] for r in records(log)]
        c.that("the new file has what came afterwards", "sys/auth" in paths and "sys/mounts" not in paths, paths)
        c.that("the old one keeps what came before",
               "sys/mounts" in [r["request"]["path"] for r in records(log.with_suffix(".1"))])
        log.rename(log.with_suffix(".2"))
        client.must("GET", "sys/policy")
        c.that("moved without a signal: noticed", "sys/policy" in [r["request"]["path"] for r in records(log)])
        log.unlink()
        client.must("GET", "sys/policies/acl?list=true")
        c.that("deleted: noticed", len(records(log)) == 2)
        c.equal("the file is for its owner alone", log.stat().st_mode & 0o777, 0o600)


def metrics(client):
    """Metrics of the audit devices, by name."""
    page = client.must("GET", "sys/metrics")
    return {m["Name"]: m.get("Value", m.get("Count", m.get("Sum"))) for m in page["Gauges"] + page["Counters"]
            if "audit" in m["Name"]}


def full_disk(c, binary, base):
    """A file size limit on the running server stands for a disk that is full, and gets room again."""
    log = Path(base) / "audit.log"
    secret = "marker-" + os.urandom(8).hex()
    with server(binary, Path(base) / "server", 'log_level = "trace"\n' + FILE_CONFIG) as srv:
        client = ready(srv)
        client.must("POST", "sys/mounts/kv", {"type": "kv"})
        client.must("POST", "kv/a", {"v": "old"})
        enable(client, "file", log)
        client.must("GET", "kv/a")
        soft, hard = resource.prlimit(srv.proc.pid, resource.RLIMIT_FSIZE)
        size = log.stat().st_size
        resource.prlimit(srv.proc.pid, resource.RLIMIT_FSIZE, (size + 700, hard))
        for method, path, body in [("GET", "kv/a", None), ("POST", "kv/a", {"v": secret}), ("DELETE", "kv/a", None),
                                   ("POST", "auth/token/create", {"id": secret}), ("GET", "nothing", None),
                                   ("POST", "sys/wrapping/unwrap", {"token": secret}), ("LIST", secret, None)]:
            status, answer = client.call(method, path, body)
            c.that(f"full: {method} {path} is refused", status == 503, (status, answer))
            c.that(f"full: {method} {path} says why", "audit device" in json.dumps(answer), answer)
            c.that(f"full: {method} {path} gives nothing away", "old" not in json.dumps(answer), answer)
        c.equal("full: health still answers", client.call("GET", "sys/health")[0], 200)
        c.equal("full: nothing is left of half a record", log.stat().st_size, size)
        resource.prlimit(srv.proc.pid, resource.RLIMIT_FSIZE, (soft, hard))
        t0 = time.monotonic()
        c.equal("room again: nothing had changed", client.must("GET", "kv/a")["data"], {"v": "old"})
        c.that("room again: soon and without a restart", time.monotonic() - t0 < 20)
        client.must("POST", "kv/a", {"v": "new"})
        c.that("room again: every line is a record", len(records(log)) >= 6)
        c.that("the log says which device failed", "file/" in log_of(srv) and "cannot record" in log_of(srv))
        c.that("and says nothing of what was asked", secret not in log_of(srv) and srv.root not in log_of(srv))


def second_device(c, binary, base):
    first, second = Path(base) / "one" / "audit.log", Path(base) / "two.log"
    first.parent.mkdir()
    with server(binary, Path(base) / "server") as srv:
        client = ready(srv)
        enable(client, "one", first)
        enable(client, "two", second)
        first.parent.rename(first.parent.with_name("away"))
        for _ in range(5):
            client.must("GET", "sys/mounts")
        c.that("one device is enough", len(records(second)) >= 10)
        found = metrics(client)
        c.that("metrics tell of the other", found.get("holdfast.audit.devices.failing") == 1
               and found.get("holdfast.audit.devices") == 2 and found.get("holdfast.audit.write_failures", 0) > 0, found)
        first.parent.with_name("away").rename(first.parent)
        client.must("GET", "sys/auth")
        c.that("the other one comes back by itself",
               until(lambda: "sys/auth" in [r["request"]["path"] for r in records(first)]))


def syslog(c, binary, base):
    """A real /dev/log: the server runs in a mount namespace of its own, where /dev holds a socket of ours."""
    dev = Path(base) / "dev"
    dev.mkdir()
    nodes = [n for n in ("null", "zero", "random", "urandom") if Path("/dev", n).exists()]
    for name in nodes:
        (dev / name).touch()
    binds = " && ".join(f"mount --bind /dev/{n} {dev}/{n}" for n in nodes) + f" && mount --rbind {dev} /dev"
    if subprocess.run(["unshare", "-m", "sh", "-c", binds], capture_output=True).returncode:
        return c.skip("syslog", "this process may not make a mount namespace")
    said = []

    def listen():
        daemon = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        daemon.bind(str(dev / "log"))
        daemon.settimeout(0.2)

        def take():
            try:
                while True:
                    try:
                        said.append(daemon.recv(1 << 20).decode())
                    except TimeoutError:
                        pass
            except OSError:
                pass
        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        return daemon, thread

    def end(daemon, thread):
        daemon.close()
        (dev / "log").unlink()
        thread.join()

    daemon = listen()
    inner = f"{binds} && exec {binary} server -config={{config}}"
    srv = Server("unshare -m sh -c '" + inner + "'", FILE_CONFIG, str(Path(base) / "server"), free_port(), multiplier=1)
    try:
        srv.start()
        client = ready(srv)
        client.must("PUT", "sys/audit/sys", {"type": "syslog", "options": {"facility": "LOCAL3", "tag": "hf"}})
        client.must("GET", "sys/mounts")
        c.that("records come to /dev/log", until(lambda: sum('"sys/mounts"' in s for s in said) == 2), said[-2:])
        # LOCAL3 is 19, what informs is 6 (RFC 3164 4.1.1).
        head = f"<{19 * 8 + 6}>hf[{srv.proc.pid}]: "
        c.that("with facility, severity and tag", all(s.startswith(head) for s in said), said[-1][:80])
        for s in said:
            c.that("one record in each, whole", json.loads(s[len(head):])["type"] in ("request", "response"), s[-80:])
        end(*daemon)
        status, answer = client.call("GET", "sys/auth")
        c.that("no daemon: refused", status == 503 and "audit device" in json.dumps(answer), (status, answer))
        daemon = listen()
        c.that("a new daemon: at once", client.call("GET", "sys/policy")[0] == 200)
        c.that("and it has the records", until(lambda: sum('"sys/policy"' in s for s in said) >= 2), said[-2:])
        client.must("POST", "sys/mounts/kv", {"type": "kv"})
        status, answer = client.call("POST", "kv/a", {f"k{i}": "v" * 500 for i in range(800)})
        c.that("a record that no datagram holds is refused or sent whole",
               status == 503 or until(lambda: any(len(s) > 60_000 for s in said)), (status, answer))
    finally:
        srv.kill9()
        end(*daemon)


def killed(c, binary, base):
    """What was answered stands in the log, whenever the process ends."""
    log = Path(base) / "audit.log"
    with server(binary, Path(base) / "server") as srv:
        client = ready(srv)
        client.must("POST", "sys/mounts/kv", {"type": "kv", "options": {"version": "2"}})
        enable(client, "file", log)
        answered, lock = [], threading.Lock()

        def work(number):
            mine = Client(srv.port, srv.root, 10)
            try:
                for i in range(10_000):
                    method, body = ("POST", {"data": {"v": str(i)}}) if i % 2 == 0 else ("GET", None)
                    status, out = mine.call(method, f"kv/data/k{number}", body)
                    if status == 200:
                        with lock:
                            answered.append(out["request_id"])
            except (Refused, Unknown):
                pass

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for t in threads:
            t.start()
        time.sleep(1.5)
        srv.kill9()
        for t in threads:
            t.join()
        lines = log.read_text().splitlines()
        found = {"request": set(), "response": set()}
        for line in lines[:-1]:                  # the very last one may be half written: nobody was answered for it
            r = json.loads(line)
            found[r["type"]].add(r["request"]["id"])
        try:
            last = json.loads(lines[-1])
            found[last["type"]].add(last["request"]["id"])
        except ValueError:
            pass
        for kind in found:
            missing = [i for i in answered if i not in found[kind]]
            c.that(f"kill -9: each of the answered has a {kind} record", answered and not missing,
                   f"{len(missing)} of {len(answered)} are missing")


def many_clients(c, binary, base):
    log = Path(base) / "audit.log"
    with server(binary, Path(base) / "server") as srv:
        client = ready(srv)
        client.must("POST", "sys/mounts/kv", {"type": "kv"})
        enable(client, "file", log)
        before = len(records(log))

        def work(number):
            mine = Client(srv.port, srv.root, 10)
            for i in range(100):
                mine.must("POST" if i % 4 == 0 else "GET", f"kv/k{number}", {"v": "x" * i} if i % 4 == 0 else None)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        c.equal("two records for each of 800 requests", len(records(log)) - before, 1600)


def hostile_text(c, binary, base):
    log = Path(base) / "audit.log"
    secret = "marker-" + os.urandom(8).hex()
    with server(binary, Path(base) / "server") as srv:
        client = ready(srv)
        client.must("POST", "sys/mounts/kv", {"type": "kv"})
        client.must("POST", "sys/auth/userpass", {"type": "userpass"})
        client.must("PUT", "sys/config/auditing/request-headers/X-Mark", {})
        client.must("PUT", "sys/config/auditing/request-headers/X-Hashed", {"hmac": True})
        enable(client, "file", log)
        forged = '%22%7D%0A%7B%22type%22:%22forged%22%7D'
        for method, path, body in [
            ("GET", "kv/" + forged, None), ("GET", "kv/%0d%0aforged", None), ("GET", "kv/%E2%80%A8forged", None),
            ("POST", "kv/a", {"n\n{\"type\":\"forged\"}": secret, "d": [{"x": [secret]}], "e": "\n\"\\"}),
            ("POST", "auth/userpass/login/" + forged, {"password": secret}),
            ("POST", "auth/userpass/login/x", {"password": {"no": [secret]}}),
            ("POST", "sys/mounts/x", {"type": secret, "config": secret}),
            ("POST", "auth/token/create", {"ttl": secret}),
            ("POST", "sys/policies/acl/x", {"policy": secret + " {"}),
        ]:
            status, _ = client.call(method, path, body)
            c.that(f"{method} {path[:40]}: no 5xx", status < 500, status)
        client.call("GET", "kv/a", token=secret)
        found = records(log)
        c.that("each line is a record of ours", {r["type"] for r in found} == {"request", "response"})
        c.that("no secret is in the log", secret not in log.read_text())
        connection = http.client.HTTPConnection("127.0.0.1", srv.port, timeout=10)
        for path, token in [("/v1/kv/a", srv.root), ("/v1/auth/userpass/login/nobody", None)]:
            headers = {"X-Mark": "seen", "X-Hashed": secret, **({"X-Vault-Token": token} if token else {})}
            connection.request("PUT", path, b'{"password":"p"}', headers)
            connection.getresponse().read()
            last = [r for r in records(log) if r["request"]["path"] == path[4:]][-1]["request"].get("headers", {})
            c.equal(f"{path}: the header is recorded", last.get("x-mark"), ["seen"])
            c.that(f"{path}: the other one hashed", last.get("x-hashed", [""])[0].startswith("hmac-sha256:"), last)


def secrets_stay_hashed(c, binary, base):
    """Reloading and unsealing must not change what is hashed, nor with which salt."""
    log = Path(base) / "audit.log"
    secret = "marker-" + os.urandom(8).hex()
    with server(binary, Path(base) / "server") as srv:
        client = ready(srv)
        client.must("POST", "sys/mounts/kv", {"type": "kv"})
        enable(client, "file", log)
        hashed = client.must("PUT", "sys/audit-hash/file", {"input": secret})["data"]["hash"]
        for step in ["at first", "after SIGHUP", "after unsealing", "after a restart"]:
            if step == "after SIGHUP":
                srv.send(signal.SIGHUP)
            elif step == "after unsealing":
                client.must("PUT", "sys/seal")
                srv.unseal(srv.keys)
            elif step == "after a restart":
                srv.stop()
                srv.start()
                srv.unseal(srv.keys)
                client = Client(srv.port, srv.root, 10)
            client.must("POST", "kv/a", {"v": secret})
            client.must("GET", "kv/a")
            last = records(log)[-1]
            c.equal(f"{step}: the value's hash", last["response"]["data"]["v"], hashed)
            c.that(f"{step}: no secret, no token", secret not in log.read_text() and srv.root not in log.read_text())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", required=True, type=Path)
    a = p.parse_args()
    c = Checks()
    parts = [rotation, full_disk, second_device, syslog, killed, many_clients, hostile_text, secrets_stay_hashed]
    for part in parts:
        with workdir("audit") as base:
            c.section(part.__name__.replace("_", " "), lambda: part(c, a.bin.absolute(), base))
    return c.close()


if __name__ == "__main__":
    sys.exit(main())
