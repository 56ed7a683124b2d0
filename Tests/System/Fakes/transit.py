"""No fake: a gate before a second Holdfast, the KMS of the transit seal, that can fail and be slow."""
import http.client

from .web import Answer, Fake


class Gate(Fake):
    def __init__(self, port):
        super().__init__()
        self.target = port

    def handle(self, request):
        self.check_fault()
        headers = {k: v for k, v in request.headers.items() if k not in ("connection", "host", "content-length")}
        connection = http.client.HTTPConnection("127.0.0.1", self.target, timeout=20)
        try:
            connection.request(request.method, request.path, request.body or None, headers)
            response = connection.getresponse()
            raise Answer(response.status, response.read())
        except OSError:
            raise Answer(502, {"errors": ["nobody is there"]})
        finally:
            connection.close()
