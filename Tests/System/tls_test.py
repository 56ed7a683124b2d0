#!/usr/bin/env python3
"""TLS of a real listener: versions, plain HTTP refused, client certificates, certificates re-read.

  Tests/System/tls_test.py --bin .build/release/holdfast
"""
import argparse, http.client, os, shutil, signal, socket, ssl, subprocess, sys, time
from pathlib import Path

from support import Checks, certificate, log_of, server, until, workdir

CONFIG = '''
storage "inmem" {{}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_cert_file = "CERT"
  tls_key_file = "KEY"
  MORE
}}
disable_mlock = true
api_addr = "https://127.0.0.1:{port}"
'''
HEALTH = "/v1/sys/health?uninitcode=200&sealedcode=200"


def context(low=None, high=None, client=None):
    c = ssl.create_default_context()
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    c.set_ciphers("DEFAULT:@SECLEVEL=0")              # so that old versions are offered at all
    if low:
        c.minimum_version, c.maximum_version = low, high or low
    if client:
        c.load_cert_chain(*client)
    return c


def get(port, ctx=None):
    """Status of one request."""
    conn = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=ctx or context())
    try:
        conn.request("GET", HEALTH)
        answer = conn.getresponse()
        answer.read()
        return answer.status
    finally:
        conn.close()


def shown(port):
    """What certificate the server shows now."""
    with socket.create_connection(("127.0.0.1", port), 5) as raw:
        with context().wrap_socket(raw) as s:
            return s.getpeercert(True), s.version()


def der(pem):
    return ssl.PEM_cert_to_DER_cert(Path(pem).read_text())


def versions(c, srv):
    v = ssl.TLSVersion
    c.equal("TLS 1.3 is the default", shown(srv.port)[1], "TLSv1.3")
    c.equal("TLS 1.3 answers", get(srv.port, context(v.TLSv1_3)), 200)
    c.equal("TLS 1.2 answers", get(srv.port, context(v.TLSv1_2)), 200)
    for old in (v.TLSv1_1, v.TLSv1):
        c.raises(f"{old.name} is refused", OSError, get, srv.port, context(old))
    out = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{srv.port}", "-tls1_2"],
                         input=b"", capture_output=True, timeout=20).stdout.decode(errors="replace")
    c.that("TLS 1.2 has forward secrecy and authenticated ciphers", "ECDHE" in out and ("GCM" in out or "CHACHA" in out),
           [line for line in out.splitlines() if "Cipher" in line])
    for weak in ("AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "DES-CBC3-SHA", "NULL"):
        weak_only = context(v.TLSv1_2)
        try:
            weak_only.set_ciphers(weak + ":@SECLEVEL=0")
        except ssl.SSLError:
            continue                                       # this Python cannot even offer it
        c.raises(f"{weak} is refused", OSError, get, srv.port, weak_only)


def plain_http(c, srv):
    with socket.create_connection(("127.0.0.1", srv.port), 5) as s:
        s.sendall(b"GET /v1/sys/health HTTP/1.1\r\nHost: x\r\n\r\n")
        s.settimeout(5)
        try:
            data = s.recv(4096)
        except ConnectionResetError:
            data = b""
    c.that("plain HTTP gets no answer of the API", not data.startswith(b"HTTP/1.1 2") and b"cluster" not in data, data)
    with socket.create_connection(("127.0.0.1", srv.port), 5) as s:
        s.sendall(os.urandom(600))
    c.equal("noise harms nobody", get(srv.port), 200)


def replace(new, cert):
    """Replaces certificate and key as tools do it: new files, then renames."""
    for a, b in zip(new, cert):
        shutil.copy(a, b + ".new")
    for b in cert:
        os.rename(b + ".new", b)


def reloading(c, srv, base, cert):
    before = der(cert[0])
    c.that("the configured certificate is shown", shown(srv.port)[0] == before)
    kept = http.client.HTTPSConnection("127.0.0.1", srv.port, timeout=5, context=context())
    kept.request("GET", HEALTH)
    kept.getresponse().read()
    replace(certificate(base, "second"), cert)
    srv.send(signal.SIGHUP)
    c.that("SIGHUP shows the new certificate", until(lambda: shown(srv.port)[0] == der(cert[0])))
    c.that("SIGHUP does not end the server", srv.proc.poll() is None)
    kept.request("GET", HEALTH)
    c.equal("an open connection goes on", kept.getresponse().status, 200)
    kept.close()
    good = der(cert[0])
    Path(cert[0]).write_text("this is no certificate")
    srv.send(signal.SIGHUP)
    time.sleep(1)
    c.that("a broken file leaves the old certificate in use", shown(srv.port)[0] == good)
    c.that("and is told in the log", Path(cert[0]).name in log_of(srv) or "certificate" in log_of(srv), log_of(srv)[-300:])
    replace(certificate(base, "third"), cert)
    c.that("a changed file is noticed without a signal", until(lambda: shown(srv.port)[0] == der(cert[0])))


def client_certificates(c, binary, base, cert):
    ca = certificate(base, "clients-ca")
    good = certificate(base, "client", signer="clients-ca")
    stranger = certificate(base, "stranger")
    text = (CONFIG.replace("CERT", cert[0]).replace("KEY", cert[1])
            .replace("MORE", f'tls_require_and_verify_client_cert = true\n  tls_client_ca_file = "{ca[0]}"'))
    with server(binary, Path(base) / "mutual", text) as srv:
        c.equal("a client with a certificate of the CA", get(srv.port, context(client=good)), 200)
        c.raises("a client without one", (OSError, http.client.HTTPException), get, srv.port)
        c.raises("a client with a stranger's", (OSError, http.client.HTTPException), get, srv.port,
                 context(client=stranger))


def wrong_files(c, binary, base, cert):
    for name, files in {"no such file": (cert[0] + ".missing", cert[1]), "not a key": (cert[0], cert[0])}.items():
        text = CONFIG.replace("CERT", files[0]).replace("KEY", files[1]).replace("MORE", "")
        with server(binary, Path(base) / "wrong", text, start=False) as srv:
            try:
                srv.start(wait=5)
            except RuntimeError:
                pass
            c.that(f"{name}: the start fails", srv.proc.poll() not in (None, 0), srv.proc.poll())
            c.that(f"{name}: and names the file", Path(files[0]).name in log_of(srv) or Path(files[1]).name in log_of(srv),
                   log_of(srv)[-300:])


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--bin", required=True, type=Path)
    a = p.parse_args()
    binary, c = a.bin.absolute(), Checks()
    with workdir("tls") as base:
        cert = certificate(base, "first")
        text = CONFIG.replace("CERT", cert[0]).replace("KEY", cert[1]).replace("MORE", "")
        with server(binary, Path(base) / "one", text) as srv:
            c.section("versions and ciphers", lambda: versions(c, srv))
            c.section("plain HTTP and noise", lambda: plain_http(c, srv))
            c.section("reloading", lambda: reloading(c, srv, base, cert))
            c.that("the server is still up", srv.proc.poll() is None)
        c.section("client certificates", lambda: client_certificates(c, binary, base, certificate(base, "mutual-server")))
        c.section("wrong files", lambda: wrong_files(c, binary, base, certificate(base, "again")))
    return c.close()


if __name__ == "__main__":
    sys.exit(main())
