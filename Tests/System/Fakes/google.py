"""Google: the token service, workload identity federation, the metadata server, and Cloud KMS.

From: Using OAuth 2.0 for server to server applications (RFC 7523), Security Token Service API v1 (RFC 8693),
IAM Credentials API generateAccessToken, Compute Engine metadata server, Cloud KMS REST v1.
"""
import base64, os, secrets, time
from datetime import datetime, timezone

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .web import Answer, Fake, new_rsa, pem, read_jwt, sign_jwt

KEY = "projects/demo/locations/europe-west1/keyRings/ring/cryptoKeys/unseal"
CLOUD = "https://www.googleapis.com/auth/cloud-platform"
KMS = "https://www.googleapis.com/auth/cloudkms"
GRANT = "urn:ietf:params:oauth:grant-type:"
AUDIENCE = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/k8s"


class Identity(Fake):
    """oauth2.googleapis.com, sts.googleapis.com, iamcredentials.googleapis.com and the metadata server."""

    def __init__(self, certificate=None):
        super().__init__(certificate)
        self.account = "sealer@demo.iam.gserviceaccount.com"
        self.key, self.key_id = new_rsa(), "key-1"
        self.issuer = new_rsa()              # of the cluster whose service accounts the pool trusts
        self.lifetime = 3600
        self.tokens = {}                     # token -> (scopes, end)

    def credentials(self):
        """The JSON that a user downloads for a service account."""
        return {"type": "service_account", "project_id": "demo", "private_key_id": self.key_id,
                "private_key": pem(self.key), "client_email": self.account, "client_id": "1",
                "token_uri": self.url + "token"}

    def federation(self, file, impersonate=False):
        """The JSON that configures a workload's federation."""
        config = {"type": "external_account", "audience": AUDIENCE,
                  "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": self.url + "token",
                  "credential_source": {"file": file}}
        if impersonate:
            config["service_account_impersonation_url"] = (
                f"{self.url}v1/projects/-/serviceAccounts/{self.account}:generateAccessToken")
        return config

    def subject_token(self, **claims):
        return sign_jwt(self.issuer, {"iss": "https://cluster.example", "aud": AUDIENCE, "exp": self.now() + 600,
                                      "sub": "system:serviceaccount:vault:vault", **claims})

    def issue(self, scopes):
        token = "ya29." + secrets.token_urlsafe(40)
        self.tokens[token] = (set(scopes), self.now() + self.lifetime)
        return {"access_token": token, "expires_in": self.lifetime, "token_type": "Bearer"}

    def refuse(self, error, text, status=400):
        raise Answer(status, {"error": error, "error_description": text})

    def handle(self, request):
        self.check_fault()
        if request.path.startswith("/computeMetadata/"):
            if request.headers.get("metadata-flavor") != "Google":
                raise Answer(403, "Missing Metadata-Flavor:Google header.")
            if request.path != "/computeMetadata/v1/instance/service-accounts/default/token":
                raise Answer(404, "not found")
            return self.issue([CLOUD])
        if request.path.endswith(":generateAccessToken"):
            return self.impersonate(request)
        if request.path != "/token" or request.method != "POST":
            raise Answer(404, "not found")
        form = request.form
        if form.get("grant_type") == GRANT + "jwt-bearer":
            return self.own_key(form)
        if form.get("grant_type") == GRANT + "token-exchange":
            return self.exchange(form)
        self.refuse("unsupported_grant_type", "Invalid grant_type: " + form.get("grant_type", ""))

    def own_key(self, form):
        claims = read_jwt(form.get("assertion", ""), self.key.public_key())
        if not claims:
            self.refuse("invalid_grant", "Invalid JWT Signature.")
        if claims.get("iss") != self.account:
            self.refuse("invalid_grant", "Invalid grant: account not found")
        # Google's own clients name the public endpoint whatever the key's file says.
        if claims.get("aud") not in (self.url + "token", "https://oauth2.googleapis.com/token"):
            self.refuse("invalid_grant", "Invalid JWT: Failed audience check.")
        now = self.now()
        if claims["exp"] - claims["iat"] > 3600 or claims["iat"] > now + 300 or claims["exp"] < now:
            self.refuse("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes) and in a "
                        "reasonable timeframe. Check your iat and exp values in the JWT claim.")
        if not claims.get("scope"):
            self.refuse("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        return self.issue(claims["scope"].split())

    def exchange(self, form):
        if form.get("audience") != AUDIENCE:
            self.refuse("invalid_target", "The target service indicated by the audience parameter is invalid.")
        if form.get("requested_token_type") != "urn:ietf:params:oauth:token-type:access_token":
            self.refuse("invalid_request", "Invalid requested_token_type")
        claims = read_jwt(form.get("subject_token", ""), self.issuer.public_key())
        if not claims or claims.get("aud") != AUDIENCE or claims["exp"] < self.now():
            self.refuse("invalid_grant", "The given subject token is invalid or expired.")
        token = self.issue(form.get("scope", "").split())
        return {**token, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}

    def impersonate(self, request):
        scopes, end = self.tokens.get(request.bearer, (set(), 0))
        if end < self.now() or CLOUD not in scopes:
            raise Answer(403, {"error": {"code": 403, "status": "PERMISSION_DENIED",
                                         "message": "Permission 'iam.serviceAccounts.getAccessToken' denied"}})
        if self.account not in request.path:
            raise Answer(404, {"error": {"code": 404, "status": "NOT_FOUND", "message": "Unknown service account"}})
        token = self.issue(request.json["scope"])
        end = datetime.fromtimestamp(self.now() + self.lifetime, timezone.utc)
        return {"accessToken": token["access_token"], "expireTime": end.strftime("%Y-%m-%dT%H:%M:%SZ")}


class CloudKMS(Fake):
    def __init__(self, identity, certificate=None):
        super().__init__(certificate)
        self.identity = identity
        self.versions = {KEY: [os.urandom(32)]}
        self.states = {}             # (key, version number) -> DISABLED or DESTROYED
        self.denied = set()          # encrypt, decrypt

    def rotate(self, key=KEY):
        self.versions[key].append(os.urandom(32))

    def refuse(self, code, status, message):
        raise Answer(code, {"error": {"code": code, "message": message, "status": status}})

    def handle(self, request):
        self.check_fault()
        scopes, end = self.identity.tokens.get(request.bearer, (set(), 0))
        if end < self.now():
            self.refuse(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        if not scopes & {CLOUD, KMS}:
            self.refuse(403, "PERMISSION_DENIED", "Request had insufficient authentication scopes.")
        name, _, verb = request.path.removeprefix("/v1/").partition(":")
        if verb not in ("encrypt", "decrypt") or request.method != "POST":
            self.refuse(404, "NOT_FOUND", "Method not found.")
        permission = f"cloudkms.cryptoKeyVersions.useTo{verb.capitalize()}"
        if verb in self.denied:
            self.refuse(403, "PERMISSION_DENIED", f"Permission '{permission}' denied on resource '{name}'.")
        if name not in self.versions:
            self.refuse(404, "NOT_FOUND", f"CryptoKey {name} not found.")
        try:
            field = base64.b64decode(request.json["plaintext" if verb == "encrypt" else "ciphertext"], validate=True)
        except Exception:
            self.refuse(400, "INVALID_ARGUMENT", "Invalid JSON payload received.")
        versions = self.versions[name]
        number = len(versions) if verb == "encrypt" else field[0] if field else 0
        if self.states.get((name, number)):
            self.refuse(400, "FAILED_PRECONDITION",
                        f"{name}/cryptoKeyVersions/{number} is not enabled, current state is: {self.states[(name, number)]}.")
        aad = name.encode()
        if verb == "encrypt":
            nonce = os.urandom(12)
            sealed = bytes([number]) + nonce + AESGCM(versions[-1]).encrypt(nonce, field, aad)
            return {"name": f"{name}/cryptoKeyVersions/{number}", "ciphertext": base64.b64encode(sealed).decode(),
                    "protectionLevel": "SOFTWARE"}
        try:
            plain = AESGCM(versions[number - 1]).decrypt(field[1:13], field[13:], aad) if 0 < number <= len(versions) else None
        except Exception:
            plain = None
        if plain is None:
            self.refuse(400, "INVALID_ARGUMENT", "Decryption failed: the ciphertext is invalid.")
        return {"plaintext": base64.b64encode(plain).decode(), "usedPrimary": number == len(versions),
                "protectionLevel": "SOFTWARE"}
