#!/usr/bin/env python3
"""Listeners of a real server: proxies in front, their headers, limits of each, unix sockets, own headers, CORS.

  Tests/System/proxy_test.py --bin .build/release/holdfast
"""
import argparse, http.client, json, os, pwd, socket, ssl, stat, struct, sys, time
from pathlib import Path

from support import Checks, certificate, free_port, log_of, ready, server, workdir

CONFIG = '''
storage "inmem" {{}}
enable_response_header_hostname = true
default_max_request_duration = "30s"
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_disable = true
}}
listener "tcp" {{
  address = "127.0.0.1:FORWARDED"
  tls_disable = true
  x_forwarded_for_authorized_addrs = "127.0.0.0/8"
  x_forwarded_for_hop_skips = 1
}}
listener "tcp" {{
  address = "127.0.0.1:STRANGER"
  tls_disable = true
  x_forwarded_for_authorized_addrs = ["10.0.0.0/8"]
  x_forwarded_for_reject_not_present = false
}}
listener "tcp" {{
  address = "127.0.0.1:PROXIED"
  tls_cert_file = "CERT"
  tls_key_file = "KEY"
  proxy_protocol_behavior = "use_always"
}}
listener "tcp" {{
  address = "127.0.0.1:DENYING"
  tls_disable = true
  proxy_protocol_behavior = "deny_unauthorized"
  proxy_protocol_authorized_addrs = "10.0.0.0/8"
}}
listener "tcp" {{
  address = "127.0.0.1:SMALL"
  tls_disable = true
  max_request_size = 1000
  max_json_depth = 3
  max_json_string_value_length = 100
  max_json_object_entry_count = 5
  max_json_array_element_count = 7
  require_request_header = true
  custom_response_headers {{
    "default" = {{ "X-All" = ["a", "b"], "Cache-Control" = ["private"] }}
    "4xx" = {{ "X-Class" = ["four"] }}
    "404" = {{ "X-One" = ["found nothing"], "X-Class" = ["one"] }}
  }}
}}
listener "unix" {{
  address = "SOCKET"
  socket_mode = "0660"
  socket_user = "USER"
  socket_group = "GROUP"
}}
disable_mlock = true
'''
HEALTH = "/v1/sys/health?uninitcode=200&sealedcode=200"
PORTS = ("FORWARDED", "STRANGER", "PROXIED", "DENYING", "SMALL")
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def get(port, path=HEALTH, headers=None, method="GET", body=None):
    """Status, headers and body."""
    conn = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        conn.request(method, path, body, headers or {})
        answer = conn.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        conn.close()


def talk(sock, path=HEALTH, headers=""):
    """Status of one request on an open socket, and the answer; 0 when the connection was closed."""
    sock.settimeout(10)
    data = b""
    try:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n".encode())
        while piece := sock.recv(65536):
            data += piece
    except OSError:
        pass
    return (int(data.split(b" ")[1]), data) if data.startswith(b"HTTP/1.1 ") else (0, data)


def bound_token(root, network):
    """A token that is good from one network only: the proof of which address the server believes."""
    made = root.must("POST", "auth/token/create-orphan", {"policies": ["default"], "ttl": "1h"})
    role = {"allowed_policies": "default", "token_bound_cidrs": network, "orphan": True}
    root.must("POST", "auth/token/roles/bound", role)
    made = root.must("POST", "auth/token/create/bound", {"policies": ["default"]})
    return made["auth"]["client_token"]


def forwarded(c, root, ports):
    token = bound_token(root, "192.0.2.0/24")
    look = "/v1/auth/token/lookup-self"

    def status(port, header, path=look):
        headers = {"X-Vault-Token": token}
        if header is not None:
            headers["X-Forwarded-For"] = header
        return get(port, path, headers)[0]

    c.equal("the address behind one hop", status(ports["FORWARDED"], "192.0.2.5, 10.9.9.9"), 200)
    c.equal("with a client's own forgery before it", status(ports["FORWARDED"], "192.0.2.5, 203.0.113.1, 10.9.9.9"), 403)
    c.equal("fewer addresses than hops", status(ports["FORWARDED"], "192.0.2.5"), 400)
    c.equal("no header", status(ports["FORWARDED"], None), 400)
    c.equal("no address", status(ports["FORWARDED"], "nonsense, 10.9.9.9"), 400)
    c.equal("from a stranger", status(ports["STRANGER"], "192.0.2.5"), 400)
    c.equal("a stranger without the header", status(ports["STRANGER"], None), 403)
    c.equal("where nobody is authorized the header means nothing", status(root.port, "192.0.2.5"), 403)
    c.equal("health of a stranger", status(ports["STRANGER"], None, HEALTH), 200)


def proxied(c, root, ports):
    token = bound_token(root, "192.0.2.0/24")
    header = f"X-Vault-Token: {token}\r\n"
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def status(first, pieces=False):
        with socket.create_connection(("127.0.0.1", ports["PROXIED"]), 10) as raw:
            for at in range(len(first)) if pieces else ():
                raw.sendall(first[at:at + 1])
                time.sleep(0.002)
            if not pieces:
                raw.sendall(first)
            try:
                with context.wrap_socket(raw) as sock:
                    return talk(sock, "/v1/auth/token/lookup-self", header)[0]
            except OSError:
                return 0

    line = b"PROXY TCP4 192.0.2.5 10.0.0.1 5555 443\r\n"
    binary = SIGNATURE + b"\x21\x11" + struct.pack("!H", 12) + bytes([192, 0, 2, 9, 10, 0, 0, 1]) + b"\x10\x00\x01\xbb"
    tlv = SIGNATURE + b"\x21\x11" + struct.pack("!H", 17) + binary[16:] + b"\x04\x00\x02ab"
    c.equal("version 1 before TLS", status(line), 200)
    c.equal("version 1 byte by byte", status(line, True), 200)
    c.equal("version 2", status(binary), 200)
    c.equal("version 2 byte by byte", status(binary, True), 200)
    c.equal("version 2 with extensions", status(tlv), 200)
    c.equal("of another client", status(b"PROXY TCP4 203.0.113.5 10.0.0.1 5555 443\r\n"), 403)
    c.equal("the balancer's own check", status(SIGNATURE + b"\x20\x00\x00\x00"), 403)
    c.equal("no header at all", status(b""), 403)
    for bad in (b"PROXY TCP4 192.0.2.5 10.0.0.1 5555\r\n", b"PROXY " + b"x" * 200, SIGNATURE + b"\x11\x11\x00\x0c" + b"0" * 12,
                SIGNATURE + b"\x21\x11\x00\x04abcd", SIGNATURE + b"\x21\x11\xff\xff", b"PROXY TCP6 ::1\r\n", os.urandom(64)):
        c.equal(f"{bad[:24]!r} ends its connection", status(bad), 0)
    c.equal("and nobody else's", status(line), 200)
    with socket.create_connection(("127.0.0.1", ports["DENYING"]), 10) as raw:
        c.equal("a stranger's connection is closed", talk(raw)[0], 0)


def own_limits(c, root, ports):
    small, asked = ports["SMALL"], {"X-Vault-Token": root.token, "X-Vault-Request": "true"}

    def put(body, port=small):
        return get(port, "/v1/cubbyhole/a", asked, "PUT", json.dumps(body))[0]

    c.equal("a small body", put({"a": "b"}), 204)
    for name, body in {"a large body": {"a": ["b"] * 400}, "a long string": {"a": "b" * 101}, "deep": {"a": [[[1]]]},
                       "many members": {str(i): 1 for i in range(6)}, "many elements": {"a": [1] * 8}}.items():
        c.that(name, put(body) in (400, 413), put(body))
        c.equal(f"{name}: fine on the first listener", put(body, root.port), 204)
    c.equal("as many elements as allowed", put({"a": [1] * 7}), 204)
    c.equal("as many members as allowed", put({str(i): 1 for i in range(5)}), 204)
    c.equal("without X-Vault-Request", get(small)[0], 412)
    c.equal("with a wrong one", get(small, headers={"X-Vault-Request": "yes"})[0], 412)
    c.equal("the first listener asks for none", get(root.port)[0], 200)


def own_headers(c, root, ports):
    status, headers, _ = get(ports["SMALL"], headers={"X-Vault-Request": "true"})
    c.equal("default", (status, headers["X-All"], headers["X-Class"]), (200, "a; b", None))
    c.equal("one of ours is replaced", headers.get_all("Cache-Control"), ["private"])
    status, headers, _ = get(ports["SMALL"], "/v1/nothing/here", {"X-Vault-Request": "true", "X-Vault-Token": root.token})
    c.equal("of a status", (status, headers["X-One"], headers["X-Class"]), (404, "found nothing", "one"))
    status, headers, _ = get(ports["SMALL"])
    c.equal("of a class", (status, headers["X-One"], headers["X-Class"]), (412, None, "four"))
    c.equal("another listener has none", get(root.port)[1]["X-All"], None)
    c.equal("the host's name", get(root.port)[1]["X-Vault-Hostname"], socket.gethostname())
    c.equal("ours", get(root.port)[1]["X-Content-Type-Options"], "nosniff")
    c.equal("X-Vault-MFA is nobody's business", get(root.port, headers={"X-Vault-MFA": "a:b\tc"})[0], 200)


def unix_socket(c, root, path):
    info = os.stat(path)
    c.that("it is a socket", stat.S_ISSOCK(info.st_mode))
    c.equal("its mode", stat.S_IMODE(info.st_mode), 0o660)
    c.equal("its owner and group", (info.st_uid, info.st_gid), (os.getuid(), os.getgid()))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        c.equal("it answers", talk(sock)[0], 200)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        c.equal("with a token", talk(sock, "/v1/auth/token/lookup-self", f"X-Vault-Token: {root.token}\r\n")[0], 200)


def wrong(c, binary, base):
    for name, line, word in (
            ("an account that does not exist", 'socket_user = "no-such-account"', "no-such-account"),
            ("a mode that is none", 'socket_mode = "rw"', "socket_mode"),
            ("a network that is none", 'x_forwarded_for_authorized_addrs = "10.0.0.0/40"', "10.0.0.0/40"),
            ("a behavior that is none", 'proxy_protocol_behavior = "maybe"', "proxy_protocol_behavior")):
        text = ('storage "inmem" {{}}\nlistener "unix" {{\n address = "' + str(Path(base) / "w.sock") + '"\n ' + line
                + "\n}}\ndisable_mlock = true\n")
        with server(binary, Path(base) / "wrong", text, start=False) as srv:
            try:
                srv.start(wait=5)
            except RuntimeError:
                pass
            c.that(f"{name}: the start fails", srv.proc.poll() not in (None, 0), srv.proc.poll())
            c.that(f"{name}: and says why", word in log_of(srv), log_of(srv)[-300:])


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--bin", required=True, type=Path)
    a = p.parse_args()
    binary, c = a.bin.absolute(), Checks()
    with workdir("proxy") as base:
        cert = certificate(base, "server")
        ports = {name: free_port() for name in PORTS}
        path = str(Path(base) / "api.sock")
        text = CONFIG.replace("CERT", cert[0]).replace("KEY", cert[1]).replace("SOCKET", path)
        text = text.replace("USER", pwd.getpwuid(os.getuid()).pw_name).replace("GROUP", str(os.getgid()))
        for name, port in ports.items():
            text = text.replace(name, str(port))
        with server(binary, Path(base) / "one", text) as srv:
            root = ready(srv)
            c.section("X-Forwarded-For", lambda: forwarded(c, root, ports))
            c.section("PROXY protocol", lambda: proxied(c, root, ports))
            c.section("limits of a listener", lambda: own_limits(c, root, ports))
            c.section("headers of answers", lambda: own_headers(c, root, ports))
            c.section("unix socket", lambda: unix_socket(c, root, path))
            c.that("the server is still up", srv.proc.poll() is None)
        c.section("wrong configurations", lambda: wrong(c, binary, base))
    return c.close()


if __name__ == "__main__":
    sys.exit(main())
