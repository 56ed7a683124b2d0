#!/usr/bin/env python3
"""Revokes a tree of many tokens: dead at once, gone within a minute, and nobody else waits.

  Tests/System/revoke_tree_test.py --bin .build/release/holdfast [--tokens 100000] [--seconds 60]

The tree is three deep: a root of the tree, 100 children, and the rest below these. Beside the revocation
one client reads and one writes all the time; none of their requests may fail, or take longer than two seconds.
"""
import argparse, http.client, json, threading, time
from pathlib import Path

from support import Checks, ready, server, workdir

BRANCHES, MAKERS, SLOWEST = 100, 16, 10.0


class Caller:
    """One kept-alive connection."""

    def __init__(self, port, token):
        self.http, self.token = http.client.HTTPConnection("127.0.0.1", port, timeout=30), token

    def call(self, method, path, body=None, token=None):
        data = json.dumps(body) if body is not None else None
        self.http.request(method, "/v1/" + path, data, {"X-Vault-Token": token or self.token})
        answer = self.http.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else {}

    def token_below(self, parent):
        status, answer = self.call("POST", "auth/token/create", {"policies": ["tree"], "ttl": "2h"}, parent)
        if status != 200:
            raise RuntimeError(f"create: {status} {answer}")
        return answer["auth"]["client_token"]


def grow(srv, parent, count):
    """Makes the tree; returns its second level and some of its leaves."""
    caller = Caller(srv.port, srv.root)
    branches = [caller.token_below(parent) for _ in range(BRANCHES)]
    leaves, lock, errors = [], threading.Lock(), []
    left = iter(range(count - BRANCHES - 1))

    def make():
        caller = Caller(srv.port, srv.root)
        try:
            while True:
                with lock:
                    number = next(left, None)
                if number is None:
                    return
                token = caller.token_below(branches[number % BRANCHES])
                if number % 997 == 0:
                    leaves.append(token)
        except Exception as e:
            errors.append(e)

    makers = [threading.Thread(target=make) for _ in range(MAKERS)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    if errors:
        raise errors[0]
    return branches, leaves


def beside(srv, stop, seen, failures, request):
    caller = Caller(srv.port, srv.root)
    while not stop.is_set():
        start = time.monotonic()
        try:
            status, _ = caller.call(*request)
        except Exception as e:
            failures.append(repr(e))
            return
        seen.append(time.monotonic() - start)
        if status >= 400:
            failures.append(status)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--bin", required=True, type=Path)
    p.add_argument("--tokens", type=int, default=100_000)
    p.add_argument("--seconds", type=float, default=60)
    a = p.parse_args()
    c = Checks()
    with workdir("revoke-tree") as base, server(a.bin.absolute(), base) as srv:
        rules = 'path "auth/token/create" { capabilities = ["update"] }'
        ready(srv).must("POST", "sys/policies/acl/tree", {"policy": rules})
        root = Caller(srv.port, srv.root)
        root.call("POST", "sys/mounts/kv", {"type": "kv"})
        root.call("POST", "kv/a", {"v": "1"})
        top, other = root.token_below(srv.root), root.token_below(srv.root)
        start = time.monotonic()
        branches, leaves = grow(srv, top, a.tokens)
        grown = time.monotonic() - start
        print(f"{a.tokens} tokens made in {grown:.1f} s, {a.tokens / grown:.0f}/s", flush=True)

        stop, failures, reads, writes = threading.Event(), [], [], []
        clients = [threading.Thread(target=beside, args=(srv, stop, seen, failures, request)) for seen, request in
                   [(reads, ("GET", "kv/a")), (writes, ("POST", "kv/b", {"v": "2"}))]]
        for client in clients:
            client.start()
        time.sleep(1)
        start = time.monotonic()
        status, answer = root.call("POST", "auth/token/revoke", {"token": top})
        took = time.monotonic() - start
        c.equal("revoking answers 204", status, 204)
        c.that("revoking answers at once", took < SLOWEST, f"{took:.2f} s")
        for token in [top, *branches, *leaves]:
            status, _ = root.call("GET", "auth/token/lookup-self", token=token)
            if status != 403:
                break
        c.equal("every token of the tree is dead when the answer is there", status, 403)
        left = None
        while time.monotonic() - start < a.seconds * 2:
            _, answer = root.call("GET", "auth/token/accessors?list=true")
            left = len(answer["data"]["keys"])
            if left <= 2:
                break
            time.sleep(0.5)
        gone = time.monotonic() - start
        stop.set()
        for client in clients:
            client.join()
        print(f"gone after {gone:.1f} s; beside it {len(reads)} reads, slowest {max(reads):.3f} s, "
              f"{len(writes)} writes, slowest {max(writes):.3f} s", flush=True)
        c.equal("only tokens outside of the tree are left", left, 2)
        c.that(f"all were removed within {a.seconds:.0f} s", gone <= a.seconds, f"{gone:.1f} s")
        c.equal("no other request failed", failures, [])
        c.that("no other request waited", max(reads + writes) < SLOWEST, f"{max(reads + writes):.2f} s")
        c.equal("a token beside the tree lives", root.call("GET", "auth/token/lookup-self", token=other)[0], 200)
        _, answer = root.call("GET", "sys/leases/lookup/auth/token/create?list=true")
        c.equal("their leases are gone", len(answer.get("data", {}).get("keys", [])), 1)
    return c.close()


if __name__ == "__main__":
    raise SystemExit(main())
