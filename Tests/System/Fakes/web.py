"""What the fakes share: a small HTTP(S) server with faults on demand, and JWTs."""
import base64, json, ssl, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa


class Answer(Exception):
    """Ends a request with this answer."""

    def __init__(self, status, body, headers=None):
        super().__init__(f"{status} {body}")
        self.status, self.body, self.headers = status, body, headers or {}


class Request:
    def __init__(self, method, target, headers, body):
        parts = urlsplit(target)
        self.method, self.headers, self.body = method, headers, body
        self.path = unquote(parts.path)
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))

    @property
    def form(self):
        if self.headers.get("content-type", "").split(";")[0] != "application/x-www-form-urlencoded":
            return {}
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))

    @property
    def json(self):
        return json.loads(self.body or b"{}")

    @property
    def bearer(self):
        kind, _, token = self.headers.get("authorization", "").partition(" ")
        return token if kind == "Bearer" else None


class Fake:
    """Subclasses answer in `handle`. Everything that a test may turn is an attribute."""

    def __init__(self, certificate=None):
        self.latency = 0.0          # seconds before each answer
        self.fault = None           # (status, body, headers): every answer of the service, until None
        self.skew = 0.0             # seconds that this cloud's clock is ahead
        self.requests = []          # (method, path) of all that came
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def date_time_string(self, timestamp=None):
                return super().date_time_string(fake.now() if timestamp is None else timestamp)

            def answer(self):
                length = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(length)
                headers = {k.lower(): v for k, v in self.headers.items()}
                request = Request(self.command, self.path, headers, body)
                fake.requests.append((request.method, request.path))
                if fake.latency:
                    time.sleep(fake.latency)
                try:
                    status, out, more = 200, fake.handle(request), {}
                except Answer as a:
                    status, out, more = a.status, a.body, a.headers
                data = out if isinstance(out, bytes) else out.encode() if isinstance(out, str) else json.dumps(out).encode()
                self.send_response(status)
                if "Content-Type" not in more:
                    self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                for name, value in more.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = answer

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request, address):
                pass                # clients that give up are part of the tests

        self.server = Quiet(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True,
                                                     do_handshake_on_connect=False)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self.port}/"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def now(self):
        return time.time() + self.skew

    def check_fault(self):
        if self.fault:
            raise Answer(*self.fault)

    def handle(self, request):
        raise NotImplementedError

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def b64u(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64u(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def new_rsa():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption()).decode()


def sign_jwt(key, claims, **header):
    text = b64u(json.dumps({"alg": "RS256", "typ": "JWT", **header}).encode()) + "." + b64u(json.dumps(claims).encode())
    return text + "." + b64u(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))


def read_jwt(token, public_key):
    """The claims of a token that this key has signed by RS256; None for any other."""
    try:
        head, body, signature = token.split(".")
        if json.loads(unb64u(head)).get("alg") != "RS256":
            return None
        public_key.verify(unb64u(signature), f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256())
        return json.loads(unb64u(body))
    except Exception:
        return None
