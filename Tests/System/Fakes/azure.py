"""Azure: the login service and IMDS (tokens), and Key Vault (wrap and unwrap by RSA keys).

From: Microsoft identity platform, OAuth 2.0 client credentials flow; Azure IMDS, /metadata/identity; Key Vault
REST API 7.4, Wrap Key and Unwrap Key; Key Vault authentication, requests and responses.
"""
import uuid

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from .web import Answer, Fake, b64u, new_rsa, read_jwt, sign_jwt, unb64u

TENANT = "11111111-2222-3333-4444-555555555555"
RESOURCE = "https://vault.azure.net"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Login(Fake):
    """login.microsoftonline.com, and the machine's metadata service under /metadata."""

    def __init__(self, certificate=None):
        super().__init__(certificate)
        self.key = new_rsa()
        self.apps = {"app-1": "s3cret"}            # client id -> secret
        self.issuer = new_rsa()                    # of the cluster whose service accounts app-1 trusts
        self.subject = "system:serviceaccount:vault:vault"
        self.identities = {None, "identity-1"}     # of the machine
        self.lifetime = 3600

    def assertion(self, **claims):
        """A service account's token, as the cluster would write it."""
        return sign_jwt(self.issuer, {"iss": "https://cluster.example", "sub": self.subject,
                                      "aud": "api://AzureADTokenExchange", "exp": self.now() + 600, **claims})

    def token(self, client, audience=RESOURCE):
        now = int(self.now())
        return sign_jwt(self.key, {"aud": audience, "iss": f"https://sts.windows.net/{TENANT}/", "tid": TENANT,
                                   "appid": client, "oid": f"oid-{client}", "nbf": now, "exp": now + self.lifetime})

    def refuse(self, status, error, number, text):
        raise Answer(status, {"error": error, "error_description": f"AADSTS{number}: {text} Trace ID: {uuid.uuid4()}",
                              "error_codes": [number], "correlation_id": str(uuid.uuid4())})

    def handle(self, request):
        self.check_fault()
        if request.path == "/metadata/identity/oauth2/token":
            return self.managed(request)
        if "/.well-known/" in request.path or request.path.startswith("/common/discovery"):
            return {"token_endpoint": f"{self.url}{TENANT}/oauth2/v2.0/token", "issuer": f"{self.url}{TENANT}/v2.0",
                    "authorization_endpoint": f"{self.url}{TENANT}/oauth2/v2.0/authorize",
                    "tenant_discovery_endpoint": f"{self.url}{TENANT}/v2.0/.well-known/openid-configuration"}
        if request.path != f"/{TENANT}/oauth2/v2.0/token" or request.method != "POST":
            self.refuse(400, "invalid_request", 90002, "Tenant not found.")
        form = request.form
        if form.get("grant_type") != "client_credentials":
            self.refuse(400, "unsupported_grant_type", 70003, "The grant type is not supported.")
        client = form.get("client_id")
        if client not in self.apps:
            self.refuse(400, "unauthorized_client", 700016, f"Application '{client}' was not found.")
        if "client_secret" in form:
            if form["client_secret"] != self.apps[client]:
                self.refuse(401, "invalid_client", 7000215, "Invalid client secret provided.")
        elif form.get("client_assertion_type") == ASSERTION:
            claims = read_jwt(form.get("client_assertion", ""), self.issuer.public_key())
            if not claims or claims.get("aud") != "api://AzureADTokenExchange" or claims.get("sub") != self.subject:
                self.refuse(401, "invalid_client", 700213, "No matching federated identity record found.")
            if claims["exp"] < self.now():
                self.refuse(401, "invalid_client", 700024, "Client assertion is not within its valid time range.")
        else:
            self.refuse(401, "invalid_client", 7000216, "client_assertion or client_secret is required.")
        scope = form.get("scope", "").split()
        resources = [s.removesuffix("/.default") for s in scope if s.endswith("/.default")]
        if len(resources) != 1 or not resources[0].startswith("https://"):
            self.refuse(400, "invalid_scope", 70011, "The provided value for scope is not valid.")
        return {"token_type": "Bearer", "expires_in": self.lifetime, "ext_expires_in": self.lifetime,
                "access_token": self.token(client, resources[0])}

    def managed(self, request):
        if request.headers.get("metadata") != "true" or "x-forwarded-for" in request.headers:
            raise Answer(400, {"error": "invalid_request", "error_description": "Required metadata header not specified"})
        if request.query.get("api-version") != "2018-02-01" or "resource" not in request.query:
            raise Answer(400, {"error": "invalid_request", "error_description": "Required query variable is missing"})
        client = request.query.get("client_id")
        if client not in self.identities:
            raise Answer(400, {"error": "invalid_request", "error_description": "Identity not found"})
        return {"access_token": self.token(client or "system", request.query["resource"]), "token_type": "Bearer",
                "expires_in": str(self.lifetime), "resource": request.query["resource"]}


class KeyVault(Fake):
    def __init__(self, login, certificate=None):
        super().__init__(certificate)
        self.login = login
        self.keys = {}               # name -> list of (version, private key)
        self.disabled = set()        # versions
        self.denied = set()          # operations: wrapKey, unwrapKey
        self.rotate("unseal")

    def rotate(self, name):
        self.keys.setdefault(name, []).append((uuid.uuid4().hex, new_rsa()))

    def refuse(self, status, code, message, inner=None, headers=None):
        error = {"code": code, "message": message}
        if inner:
            error["innererror"] = {"code": inner}
        raise Answer(status, {"error": error}, headers)

    def authenticate(self, request):
        challenge = {"WWW-Authenticate": f'Bearer authorization="{self.login.url}{TENANT}", resource="{RESOURCE}"'}
        claims = read_jwt(request.bearer or "", self.login.key.public_key())
        if not claims:
            self.refuse(401, "Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.", headers=challenge)
        if claims["aud"] != RESOURCE:
            self.refuse(401, "Unauthorized", "AKV10022: Invalid audience.", headers=challenge)
        if claims["exp"] < self.now() or claims["nbf"] > self.now() + 300:
            self.refuse(401, "Unauthorized", "AKV10020: Token expired.", headers=challenge)

    def handle(self, request):
        self.check_fault()
        self.authenticate(request)
        if not request.query.get("api-version"):
            self.refuse(400, "BadParameter", "api-version must be specified")
        parts = request.path.strip("/").split("/")
        if parts[0] != "keys" or len(parts) < 2:
            self.refuse(404, "NotFound", "no such path")
        action = parts[-1] if parts[-1] in ("wrapkey", "unwrapkey") else None
        rest = parts[2:-1] if action else parts[2:]
        versions = self.keys.get(parts[1])
        if not versions:
            self.refuse(404, "KeyNotFound", f"A key with (name/id) {parts[1]} was not found in this key vault.")
        wanted = rest[0] if rest else versions[-1][0]
        found = [key for version, key in versions if version == wanted]
        if not found:
            self.refuse(404, "KeyNotFound", f"A key with (name/id) {parts[1]}/{wanted} was not found in this key vault.")
        kid = f"{self.url}keys/{parts[1]}/{wanted}"
        if request.method == "GET" and action is None:
            return self.bundle(kid, found[0])
        if request.method != "POST" or action is None:
            self.refuse(405, "MethodNotAllowed", "The method is not allowed.")
        operation = {"wrapkey": "wrapKey", "unwrapkey": "unwrapKey"}[action]
        if operation in self.denied:
            self.refuse(403, "Forbidden", "The user, group or application 'appid=app-1' does not have keys "
                        f"{action} permission on key vault 'v'.", "AccessDenied")
        if wanted in self.disabled:
            self.refuse(403, "Forbidden", "Operation is not allowed on a disabled key.", "KeyDisabled")
        return self.crypt(operation, kid, found[0], request.json)

    def bundle(self, kid, key):
        numbers = key.public_key().public_numbers()
        n = b64u(numbers.n.to_bytes(256, "big"))
        return {"key": {"kid": kid, "kty": "RSA", "n": n, "e": b64u(numbers.e.to_bytes(3, "big")),
                        "key_ops": ["wrapKey", "unwrapKey"]}, "attributes": {"enabled": True}}

    def crypt(self, operation, kid, key, body):
        hash_ = {"RSA-OAEP-256": hashes.SHA256, "RSA-OAEP": hashes.SHA1}.get(body.get("alg"))
        if not hash_:
            self.refuse(400, "BadParameter", "Property alg has invalid value")
        oaep = padding.OAEP(mgf=padding.MGF1(hash_()), algorithm=hash_(), label=None)
        try:
            value = unb64u(body["value"])
            if operation == "wrapKey":
                out = key.public_key().encrypt(value, oaep)
            else:
                out = key.decrypt(value, oaep)
        except Exception:
            self.refuse(400, "BadParameter", "The parameter is incorrect.")
        return {"kid": kid, "value": b64u(out)}


class AppService(Fake):
    """The identity endpoint of App Service and Functions (REST endpoint reference, API version 2019-08-01)."""

    def __init__(self, login):
        super().__init__()
        self.login, self.header = login, uuid.uuid4().hex

    def handle(self, request):
        self.check_fault()
        if request.method != "GET" or request.path != "/msi/token":
            raise Answer(404, {"statusCode": 404, "message": "Not Found"})
        if request.headers.get("x-identity-header") != self.header:
            raise Answer(401, {"statusCode": 401, "message": "Unauthorized"})
        if request.query.get("api-version") != "2019-08-01" or "resource" not in request.query:
            raise Answer(400, {"statusCode": 400, "message": "A required parameter is missing"})
        client = request.query.get("client_id")
        if client not in self.login.identities:
            raise Answer(400, {"statusCode": 400, "message": "No User Assigned or Delegated Managed Identity found"})
        return {"access_token": self.login.token(client or "system", request.query["resource"]), "token_type": "Bearer",
                "expires_on": str(int(self.now()) + self.login.lifetime), "resource": request.query["resource"],
                "client_id": client or "system"}
