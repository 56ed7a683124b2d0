"""AWS as moto serves it, behind a gate that can fail as AWS does; and what gives out credentials to machines.

moto checks signatures and IAM policies itself. What it cannot do (throttling, clock skew) the gate answers,
in the shapes of the AWS JSON protocol 1.1. moto's STS takes any web identity: ours checks it, by STS API 2011-06-15,
AssumeRoleWithWebIdentity, and has moto make the credentials. The others: EC2 instance metadata service, version 2;
container credential provider of the AWS SDKs and tools reference guide.
"""
import calendar, http.client, secrets, time
from xml.sax.saxutils import escape

from .web import Answer, Fake, new_rsa, read_jwt, sign_jwt


class Gate(Fake):
    def __init__(self, moto_port):
        super().__init__()
        self.moto_port = moto_port
        self.denied = set()          # actions of KMS: Encrypt, Decrypt
        self.gone = set()            # ids of keys that wait for their deletion

    def refuse(self, status, type_, message):
        raise Answer(status, {"__type": type_, "message": message}, {"x-amzn-ErrorType": type_})

    def handle(self, request):
        self.check_fault()
        target = request.headers.get("x-amz-target", "")
        date = request.headers.get("x-amz-date")
        if date:
            sent = calendar.timegm(time.strptime(date, "%Y%m%dT%H%M%SZ"))
            if abs(sent - self.now()) > 300:
                self.refuse(400, "InvalidSignatureException", f"Signature expired: {date} is now earlier than …")
        if target.split(".")[-1] in self.denied:
            self.refuse(400, "AccessDeniedException", "User: arn:aws:iam::123456789012:user/sealer is not authorized "
                        f"to perform: kms:{target.split('.')[-1]} on resource: …")
        if target.endswith(".Decrypt") and any(key in request.json.get("KeyId", "") for key in self.gone):
            self.refuse(400, "KMSInvalidStateException", f"{request.json['KeyId']} is pending deletion.")
        headers = {k: v for k, v in request.headers.items() if k != "connection"}
        connection = http.client.HTTPConnection("127.0.0.1", self.moto_port, timeout=20)
        connection.request(request.method, request.path, request.body, headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        raise Answer(response.status, body)


class Metadata(Fake):
    """169.254.169.254, version 2."""

    def __init__(self, credentials):
        super().__init__()
        self.credentials, self.sessions = credentials, set()

    def handle(self, request):
        self.check_fault()
        if request.path == "/latest/api/token":
            if request.method != "PUT" or not request.headers.get("x-aws-ec2-metadata-token-ttl-seconds"):
                raise Answer(400, "bad request")
            self.sessions.add(token := secrets.token_urlsafe(40))
            return token
        if request.headers.get("x-aws-ec2-metadata-token") not in self.sessions:
            raise Answer(401, "unauthorized")
        base = "/latest/meta-data/iam/security-credentials/"
        if request.path == base:
            return "sealer"
        if request.path != base + "sealer":
            raise Answer(404, "not found")
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        return {"Code": "Success", "Type": "AWS-HMAC", "Expiration": end, **self.credentials}


class STS(Fake):
    """sts.amazonaws.com for a role that trusts the service accounts of one cluster (IRSA)."""

    def __init__(self, role, assume):
        super().__init__()
        self.role, self.assume = role, assume      # assume(session, seconds): credentials as boto3 gives them
        self.issuer, self.lifetime = new_rsa(), 3600
        self.subject = "system:serviceaccount:vault:vault"

    def token(self, **claims):
        """What the cluster puts into a pod."""
        now = int(self.now())
        return sign_jwt(self.issuer, {"iss": "https://oidc.eks.example/id/1", "sub": self.subject, "aud": ["sts.amazonaws.com"],
                                      "nbf": now, "iat": now, "exp": now + 86400, **claims})

    def refuse(self, status, code, message):
        raise Answer(status, '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
                     f"<Code>{code}</Code><Message>{escape(message)}</Message></Error><RequestId>1</RequestId></ErrorResponse>",
                     {"Content-Type": "text/xml"})

    def handle(self, request):
        self.check_fault()
        form = request.form
        if request.method != "POST" or form.get("Version") != "2011-06-15" or form.get("Action") != "AssumeRoleWithWebIdentity":
            self.refuse(400, "InvalidAction", "Could not find the operation.")
        if not 2 <= len(form.get("RoleSessionName", "")) <= 64:
            self.refuse(400, "ValidationError", "'roleSessionName' failed to satisfy constraint")
        claims = read_jwt(form.get("WebIdentityToken", ""), self.issuer.public_key())
        if not claims:
            self.refuse(400, "InvalidIdentityToken", "No OpenIDConnect provider found in your account for this token")
        if claims["exp"] < self.now():
            self.refuse(400, "ExpiredTokenException", f"Token expired: current date {self.now():.0f} must be before the expiration date")
        if form.get("RoleArn") != self.role or claims["sub"] != self.subject or claims["aud"] != ["sts.amazonaws.com"]:
            self.refuse(403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
        made = self.assume(form["RoleSessionName"])
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.now() + self.lifetime))
        raise Answer(200, '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
                     "<AssumeRoleWithWebIdentityResult><Audience>sts.amazonaws.com</Audience><AssumedRoleUser>"
                     f"<Arn>{self.role}/{form['RoleSessionName']}</Arn></AssumedRoleUser><Credentials>"
                     f"<AccessKeyId>{made['AccessKeyId']}</AccessKeyId><SecretAccessKey>{made['SecretAccessKey']}</SecretAccessKey>"
                     f"<SessionToken>{made['SessionToken']}</SessionToken><Expiration>{end}</Expiration></Credentials>"
                     "</AssumeRoleWithWebIdentityResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>"
                     "</AssumeRoleWithWebIdentityResponse>", {"Content-Type": "text/xml"})


class Container(Fake):
    """The endpoint of ECS and of EKS Pod Identity."""

    def __init__(self, assume):
        super().__init__()
        self.assume, self.token, self.lifetime = assume, secrets.token_urlsafe(40), 3600

    def handle(self, request):
        self.check_fault()
        if request.method != "GET" or request.path != "/v1/credentials":
            raise Answer(404, {"code": "NotFound", "message": "no such path"})
        if request.headers.get("authorization") != self.token:
            raise Answer(401, {"code": "AccessDenied", "message": "Authorization token is invalid"})
        made = self.assume("container")
        return {"AccountId": "123456789012", "AccessKeyId": made["AccessKeyId"], "SecretAccessKey": made["SecretAccessKey"],
                "Token": made["SessionToken"], "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.now() + self.lifetime))}
