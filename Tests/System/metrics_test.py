#!/usr/bin/env python3
"""Metrics of a real server: for Prometheus, as JSON, to a statsd and a statsite; who may read them.

  Tests/System/metrics_test.py --bin .build/release/holdfast
"""
import argparse, http.client, json, re, socket, sys
from pathlib import Path

from support import Checks, free_port, ready, server, workdir

CONFIG = '''
storage "file" {{ path = "{data}" }}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_disable = true
}}
listener "tcp" {{
  address = "127.0.0.1:OPEN"
  tls_disable = true
  telemetry {{ unauthenticated_metrics_access = true }}
}}
telemetry {{
  disable_hostname = true
  metrics_prefix = "PREFIX"
  prometheus_retention_time = "RETENTION"
  statsd_address = "127.0.0.1:STATSD"
  statsite_address = "127.0.0.1:STATSITE"
}}
disable_mlock = true
'''
LINE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\.)*",?)*\})? (\S+)$')


def get(port, path, token=None):
    conn = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        conn.request("GET", path, headers={"X-Vault-Token": token} if token else {})
        answer = conn.getresponse()
        return answer.status, answer.headers.get("Content-Type"), answer.read().decode()
    finally:
        conn.close()


def scrape(c, port, token=None):
    """Values by series, every line checked for the format."""
    status, kind, text = get(port, "/v1/sys/metrics?format=prometheus", token)
    c.equal("a scrape", (status, kind), (200, "text/plain; charset=utf-8"))
    found, typed = {}, set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            typed.add(line.split()[2])
        elif not line.startswith("# HELP "):
            m = LINE.match(line)
            if c.that("a line of the format", m, line):
                found[m[1] + (m[2] or "")] = float(m[3])
                base = re.sub(r"_(bucket|sum|count)$", "", m[1])
                c.that("a series with a type", base in typed or m[1] in typed, line)
    return found


def reading(c, root, opened):
    before = scrape(c, opened)
    root.must("POST", "sys/mounts/kv", {"type": "kv"})
    for i in range(50):
        root.must("PUT", f"kv/{i}", {"a": "b"})
        root.must("GET", f"kv/{i}")
    for _ in range(7):
        root.call("GET", "kv/none")
    after = scrape(c, opened)

    def grown(name):
        return after.get(name, 0) - before.get(name, 0)

    kv = 'holdfast_requests_total{mount_type="kv",operation="%s",status="%s"}'
    c.equal("reads", grown(kv % ("read", "2xx")), 50)
    c.equal("failed reads", grown(kv % ("read", "4xx")), 7)
    c.equal("writes", grown(kv % ("update", "2xx")), 50)
    c.equal("a histogram counts them", grown('holdfast_request_duration_seconds_count{mount_type="kv",operation="read"}'), 57)
    c.equal("its last bucket too",
            grown('holdfast_request_duration_seconds_bucket{mount_type="kv",operation="read",le="+Inf"}'), 57)
    c.that("requests altogether", grown("vault_core_handle_request_count") >= 108, grown("vault_core_handle_request_count"))
    c.that("commits", grown("holdfast_commit_batch_duration_seconds_count") >= 50)
    c.that("keys written", grown("holdfast_commit_keys_total") >= 50)
    c.that("entries written through the barrier", grown("vault_barrier_put_count") >= 50)
    c.that("entries read through the barrier", grown("vault_barrier_get_count") >= 50)
    for name in ("process_resident_memory_bytes", "process_open_fds", "vault_runtime_alloc_bytes",
                 "holdfast_http_connections", "process_start_time_seconds"):
        c.that(name, after.get(name, 0) > 0, after.get(name))
    c.that("unsealed", [v for k, v in after.items() if k.startswith("vault_core_unsealed{")] == [1])
    c.that("build", any(k.startswith("holdfast_build_info{") for k in after))
    c.that("mounts", after.get('vault_core_mount_table_num_entries{type="logical",local="false"}', 0) >= 2)
    for i in range(300):
        root.call("GET", f"no-such-mount-{i}/x{i}")
    c.that("clients make no series", len(scrape(c, opened)) <= len(after) + 40, (len(after), len(scrape(c, opened))))


def forms(c, root, opened):
    status, kind, text = get(opened, "/v1/sys/metrics")
    page = json.loads(text)
    c.equal("JSON", (status, kind), (200, "application/json"))
    c.equal("its members", list(page), ["Timestamp", "Gauges", "Points", "Counters", "Samples"])
    names = {m["Name"] for kind in ("Gauges", "Counters", "Samples") for m in page[kind]}
    c.that("Vault's names", {"vault.core.unsealed", "vault.core.handle_request", "vault.barrier.put.count"} <= names, names)
    sample = next(m for m in page["Samples"] if m["Name"] == "vault.core.handle_request")
    c.equal("what a sample tells", set(sample),
            {"Name", "Count", "Rate", "Sum", "Min", "Max", "Mean", "Stddev", "Labels"})
    c.that("and that it makes sense", sample["Min"] <= sample["Mean"] <= sample["Max"] and sample["Count"] > 0, sample)
    c.equal("an unknown form", get(opened, "/v1/sys/metrics?format=xml")[0], 400)


def access(c, root, opened):
    c.that("not without a token", get(root.port, "/v1/sys/metrics")[0] in (400, 403))
    root.must("PUT", "sys/policies/acl/watch", {"policy": 'path "sys/metrics" { capabilities = ["read"] }'})
    made = root.must("POST", "auth/token/create", {"policies": ["watch"]})["auth"]["client_token"]
    other = root.must("POST", "auth/token/create", {"policies": ["default"]})["auth"]["client_token"]
    c.equal("a policy allows it", get(root.port, "/v1/sys/metrics?format=prometheus", made)[0], 200)
    c.equal("default does not", get(root.port, "/v1/sys/metrics", other)[0], 403)
    c.equal("the open listener opens nothing else", get(opened, "/v1/sys/mounts")[0] in (400, 403), True)


def sending(c, statsd, statsite):
    statsd.settimeout(25)
    packet = statsd.recv(65536).decode()
    c.that("a packet is small", len(packet) <= 1400, len(packet))
    lines = packet.splitlines()
    while not any(line.startswith("vault.token.count") for line in lines) and len(lines) < 3000:
        lines += statsd.recv(65536).decode().splitlines()
    good = re.compile(r"^[A-Za-z0-9_.-]+:-?[0-9.e+-]+\|(g|c|ms(\|@[0-9.e-]+)?)$")
    c.that("statsd lines", all(good.match(line) for line in lines), [x for x in lines if not good.match(x)][:3])
    values = {line.split(":")[0]: line.split(":")[1] for line in lines}
    c.that("tokens were counted", any(k.startswith("vault.token.count") and float(v.split("|")[0]) >= 3
                                      for k, v in values.items()), [k for k in values if "token" in k])
    c.equal("leases too", "vault.expire.num_leases" in values, True)
    statsite.settimeout(25)
    peer, _ = statsite.accept()
    with peer:
        peer.settimeout(10)
        data = b""
        while data.count(b"\n") < 20:
            piece = peer.recv(65536)
            if not piece:
                break
            data += piece
    c.that("statsite gets the same", all(good.match(x) for x in data.decode().splitlines()[:20]), data[:200])


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--bin", required=True, type=Path)
    a = p.parse_args()
    binary, c = a.bin.absolute(), Checks()
    with workdir("metrics") as base, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd, \
            socket.socket() as statsite:
        statsd.bind(("127.0.0.1", 0))
        statsite.bind(("127.0.0.1", 0))
        statsite.listen()
        opened = free_port()
        text = (CONFIG.replace("OPEN", str(opened)).replace("STATSD", str(statsd.getsockname()[1]))
                .replace("STATSITE", str(statsite.getsockname()[1])))
        with server(binary, Path(base) / "one",
                    text.replace("PREFIX", "vault").replace("RETENTION", "1h")) as srv:
            c.equal("metrics of a server that was never initialised", get(opened, "/v1/sys/metrics")[0], 200)
            root = ready(srv)
            c.section("what is counted", lambda: reading(c, root, opened))
            c.section("forms", lambda: forms(c, root, opened))
            c.section("access", lambda: access(c, root, opened))
            c.section("statsd and statsite", lambda: sending(c, statsd, statsite))
            root.must("PUT", "sys/seal")
            sealed = scrape(c, opened)
            c.that("sealed", [v for k, v in sealed.items() if k.startswith("vault_core_unsealed")] == [0])
            c.that("the server is still up", srv.proc.poll() is None)
        text = text.replace("PREFIX", "hf").replace("RETENTION", "0")
        with server(binary, Path(base) / "two", text) as srv:
            c.equal("Prometheus can be switched off", get(opened, "/v1/sys/metrics?format=prometheus")[0], 400)
            c.that("a prefix of one's own", '"hf.core.unsealed"' in get(opened, "/v1/sys/metrics")[2])
    return c.close()


if __name__ == "__main__":
    sys.exit(main())
