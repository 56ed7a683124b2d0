"""AliCloud: KMS with its RPC signatures, and the instance metadata service with RAM roles.

From: Key Management Service API 2016-01-20 (Encrypt, Decrypt, error codes), Alibaba Cloud RPC request syntax and
signature method 1.0 (HMAC-SHA1), ECS instance metadata in security hardening mode, STS API 2015-04-01
(AssumeRoleWithOIDC).
"""
import base64, hashlib, hmac, os, secrets, struct, uuid
from datetime import datetime, timezone
from urllib.parse import quote

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .web import Answer, Fake, new_rsa, read_jwt, sign_jwt


def stamp(seconds):
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Metadata(Fake):
    """100.100.100.200."""

    def __init__(self, role="sealer"):
        super().__init__()
        self.role, self.lifetime = role, 3600
        self.sessions, self.issued = set(), {}      # access key -> (secret, token, end)

    def handle(self, request):
        self.check_fault()
        if request.path == "/latest/api/token":
            if request.method != "PUT" or not request.headers.get("x-aliyun-ecs-metadata-token-ttl-seconds"):
                raise Answer(400, "bad request")
            self.sessions.add(token := secrets.token_urlsafe(32))
            return token
        if request.headers.get("x-aliyun-ecs-metadata-token") not in self.sessions:
            raise Answer(403, "forbidden")
        base = "/latest/meta-data/ram/security-credentials/"
        if request.path == base:
            if not self.role:
                raise Answer(404, "not found")
            return self.role
        if not self.role or request.path != base + self.role:
            raise Answer(404, "not found")
        key, end = "STS." + secrets.token_hex(8), self.now() + self.lifetime
        self.issued[key] = (secrets.token_hex(16), secrets.token_urlsafe(48), end)
        return {"Code": "Success", "AccessKeyId": key, "AccessKeySecret": self.issued[key][0],
                "SecurityToken": self.issued[key][1], "Expiration": stamp(end), "LastUpdated": stamp(self.now())}


class STS(Fake):
    """sts.aliyuncs.com for a role that trusts the service accounts of one cluster (RRSA)."""
    role = "acs:ram::1:role/unsealer"
    provider = "acs:ram::1:oidc-provider/cluster"

    def __init__(self):
        super().__init__()
        self.issuer, self.lifetime, self.issued, self.nonces = new_rsa(), 3600, {}, set()
        self.subject = "system:serviceaccount:vault:vault"

    def token(self, **claims):
        """What the cluster puts into a pod."""
        return sign_jwt(self.issuer, {"iss": "https://oidc.ack.example", "sub": self.subject, "aud": ["sts.aliyuncs.com"],
                                      "exp": self.now() + 3600, **claims})

    def refuse(self, status, code, message):
        raise Answer(status, {"RequestId": str(uuid.uuid4()), "HostId": "sts.aliyuncs.com", "Code": code, "Message": message})

    def handle(self, request):
        self.check_fault()
        form = {**request.query, **request.form}
        if form.get("Action") != "AssumeRoleWithOIDC" or form.get("Version") != "2015-04-01" or form.get("Format") != "JSON":
            self.refuse(404, "InvalidAction.NotFound", "Specified api is not found.")
        if not form.get("SignatureNonce") or form["SignatureNonce"] in self.nonces or "Timestamp" not in form:
            self.refuse(400, "SignatureNonceUsed", "Specified signature nonce was used already.")
        self.nonces.add(form["SignatureNonce"])
        if not 2 <= len(form.get("RoleSessionName", "")) <= 64:
            self.refuse(400, "InvalidParameter.RoleSessionName", "The parameter RoleSessionName is wrongly formed.")
        if form.get("RoleArn") != self.role:
            self.refuse(404, "EntityNotExist.Role", "The role not exists.")
        if form.get("OIDCProviderArn") != self.provider:
            self.refuse(404, "AuthenticationFail.OIDCProvider.NotExist", "The OIDC provider does not exist.")
        claims = read_jwt(form.get("OIDCToken", ""), self.issuer.public_key())
        if not claims:
            self.refuse(400, "AuthenticationFail.OIDCToken.Invalid", "This JWT is invalid.")
        if claims["exp"] < self.now():
            self.refuse(400, "AuthenticationFail.OIDCToken.Expired", "This JWT has been expired.")
        if claims["sub"] != self.subject or claims["aud"] != ["sts.aliyuncs.com"]:
            self.refuse(403, "AuthenticationFail.NoPermission", "This operator is not authorized to assume the role.")
        key, end = "STS." + secrets.token_hex(8), self.now() + self.lifetime
        self.issued[key] = (secrets.token_hex(16), secrets.token_urlsafe(48), end)
        return {"RequestId": str(uuid.uuid4()), "AssumedRoleUser": {"Arn": self.role + "/" + form["RoleSessionName"]},
                "Credentials": {"AccessKeyId": key, "AccessKeySecret": self.issued[key][0], "SecurityToken": self.issued[key][1],
                                "Expiration": stamp(end)}}


class KMS(Fake):
    def __init__(self, metadata=None):
        super().__init__()
        self.metadata = metadata
        self.users = {"LTAI-test": "ali-s3cret"}     # access key -> secret
        self.keys = {}                               # key id -> list of (version id, key)
        self.aliases = {}
        self.disabled, self.denied, self.nonces = set(), set(), set()
        self.key = self.create()

    def create(self):
        key = str(uuid.uuid4())
        self.keys[key] = [(str(uuid.uuid4()), os.urandom(32))]
        return key

    def rotate(self, key=None):
        self.keys[key or self.key].append((str(uuid.uuid4()), os.urandom(32)))

    def refuse(self, status, code, message):
        raise Answer(status, {"RequestId": str(uuid.uuid4()), "HostId": "kms.eu-central-1.aliyuncs.com",
                              "Code": code, "Message": message})

    def secret(self, params):
        key, token = params.get("AccessKeyId", ""), params.get("SecurityToken")
        if key in self.users and token is None:
            return self.users[key]
        issued = self.metadata.issued.get(key) if self.metadata else None
        if not issued:
            self.refuse(404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.")
        if token != issued[1]:
            self.refuse(400, "InvalidSecurityToken.MismatchWithAccessKey", "Specified SecurityToken mismatch with the AccessKey.")
        if issued[2] < self.now():
            self.refuse(400, "InvalidSecurityToken.Expired", "Specified SecurityToken is expired.")
        return issued[0]

    def authenticate(self, method, params):
        secret = self.secret(params)
        if params.get("SignatureMethod") != "HMAC-SHA1" or params.get("SignatureVersion") != "1.0":
            self.refuse(400, "IncompleteSignature", "The request signature does not conform to Aliyun standards.")
        try:
            sent = datetime.strptime(params["Timestamp"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()
        except (KeyError, ValueError):
            self.refuse(400, "InvalidTimeStamp.Format", "Specified time stamp or date value is not well formatted.")
        if abs(sent - self.now()) > 15 * 60:
            self.refuse(400, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.")
        encode = lambda text: quote(text, safe="-_.~")
        pairs = sorted((k, v) for k, v in params.items() if k != "Signature")
        query = "&".join(f"{encode(k)}={encode(v)}" for k, v in pairs)
        text = f"{method}&%2F&{encode(query)}"
        wanted = base64.b64encode(hmac.new((secret + "&").encode(), text.encode(), hashlib.sha1).digest()).decode()
        if not hmac.compare_digest(wanted, params.get("Signature", "")):
            self.refuse(400, "SignatureDoesNotMatch", "Specified signature is not matched with our calculation. "
                        f"server string to sign is:{text}")
        if params.get("SignatureNonce") in self.nonces or not params.get("SignatureNonce"):
            self.refuse(400, "SignatureNonceUsed", "Specified signature nonce was used already.")
        self.nonces.add(params["SignatureNonce"])

    def handle(self, request):
        self.check_fault()
        params = {**request.query, **request.form}
        self.authenticate(request.method, params)
        if params.get("Version") != "2016-01-20":
            self.refuse(400, "InvalidVersion", "Specified parameter Version is not valid.")
        action = params.get("Action")
        if action in self.denied:
            self.refuse(403, "Forbidden.NoPermission", "This operation is forbidden by permission system.")
        if action == "Encrypt":
            return self.encrypt(params)
        if action == "Decrypt":
            return self.decrypt(params)
        self.refuse(404, "InvalidAction.NotFound", "Specified api is not found.")

    def encrypt(self, params):
        key = self.aliases.get(params.get("KeyId"), params.get("KeyId"))
        if key not in self.keys:
            self.refuse(404, "Forbidden.KeyNotFound", "The specified Key is not found.")
        if key in self.disabled:
            self.refuse(409, "Rejected.Disabled", "The request was rejected because the key state is Disabled.")
        try:
            plain = base64.b64decode(params["Plaintext"], validate=True)
        except Exception:
            self.refuse(400, "InvalidParameter", "The specified parameter is not valid.")
        version, material = self.keys[key][-1]
        nonce, head = os.urandom(12), f"{key}/{version}".encode()
        blob = struct.pack(">H", len(head)) + head + nonce + AESGCM(material).encrypt(nonce, plain, head)
        return {"KeyId": key, "KeyVersionId": version, "CiphertextBlob": base64.b64encode(blob).decode(),
                "RequestId": str(uuid.uuid4())}

    def decrypt(self, params):
        try:
            blob = base64.b64decode(params["CiphertextBlob"], validate=True)
            count = struct.unpack(">H", blob[:2])[0]
            head, rest = blob[2:2 + count], blob[2 + count:]
            key, version = head.decode().split("/")
            material = dict(self.keys[key])[version]
            plain = AESGCM(material).decrypt(rest[:12], rest[12:], head)
        except Exception:
            self.refuse(400, "InvalidParameter", "The specified parameter is not valid.")
        if key in self.disabled:
            self.refuse(409, "Rejected.Disabled", "The request was rejected because the key state is Disabled.")
        return {"KeyId": key, "KeyVersionId": version, "Plaintext": base64.b64encode(plain).decode(),
                "RequestId": str(uuid.uuid4())}
