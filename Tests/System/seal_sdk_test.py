#!/usr/bin/env python3
"""The fakes of Tests/System/Fakes, used by the vendors' own SDKs: what these accept and send is what the real
clouds speak, so a seal that works with the same fake speaks it too."""
import base64, contextlib, json, os, sys, time

from support import Checks, certificate, workdir
from Fakes import alicloud, aws, azure, google


def azure_sdk(c, base):
    from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
    from azure.identity import ClientSecretCredential
    from azure.keyvault.keys import KeyClient
    from azure.keyvault.keys.crypto import CryptographyClient, KeyWrapAlgorithm
    own = certificate(base, "azure")
    os.environ["REQUESTS_CA_BUNDLE"] = own[0]
    login = azure.Login(own)
    vault = azure.KeyVault(login, own)
    credential = lambda secret="s3cret": ClientSecretCredential(
        azure.TENANT, "app-1", secret, authority=login.url.rstrip("/"), disable_instance_discovery=True)
    keys = KeyClient(vault.url, credential(), verify_challenge_resource=False)
    key = keys.get_key("unseal")
    c.equal("azure: the key's version", key.properties.version, vault.keys["unseal"][-1][0])
    crypto = CryptographyClient(key.id, credential(), verify_challenge_resource=False)
    secret = os.urandom(32)
    wrapped = crypto.wrap_key(KeyWrapAlgorithm.rsa_oaep_256, secret)
    c.equal("azure: unwrap", crypto.unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, wrapped.encrypted_key).key, secret)
    c.that("azure: another wrapping is refused", raised(HttpResponseError, crypto.unwrap_key, KeyWrapAlgorithm.rsa_oaep_256, b"x" * 256))
    c.that("azure: a missing key is not found", raised(ResourceNotFoundError, keys.get_key, "other"))
    from azure.core.exceptions import ClientAuthenticationError
    wrong = KeyClient(vault.url, credential("wrong"), verify_challenge_resource=False)
    c.that("azure: a wrong secret is refused", raised(ClientAuthenticationError, wrong.get_key, "unseal"))
    vault.denied = {"unwrapKey"}
    c.that("azure: a missing right is refused", raised(HttpResponseError, crypto.unwrap_key, KeyWrapAlgorithm.rsa_oaep_256, wrapped.encrypted_key))
    azure_app_service(c, login)
    login.close(), vault.close()


def azure_app_service(c, login):
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import ManagedIdentityCredential
    app = azure.AppService(login)
    scope = azure.RESOURCE + "/.default"
    with environment(IDENTITY_ENDPOINT=app.url + "msi/token", IDENTITY_HEADER=app.header):
        for client in (None, "identity-1"):
            token = ManagedIdentityCredential(**({"client_id": client} if client else {})).get_token(scope)
            claims = azure.read_jwt(token.token, login.key.public_key())
            c.equal(f"azure: App Service's identity {client}", (claims["aud"], claims["appid"]), (azure.RESOURCE, client or "system"))
            c.that("azure: its end is understood", abs(token.expires_on - time.time() - login.lifetime) < 60)
        unknown = ManagedIdentityCredential(client_id="nobody")
        c.that("azure: an unknown identity is refused", raised(ClientAuthenticationError, unknown.get_token, scope))
    with environment(IDENTITY_ENDPOINT=app.url + "msi/token", IDENTITY_HEADER="wrong"):
        c.that("azure: a wrong header is refused", raised(ClientAuthenticationError, ManagedIdentityCredential().get_token, scope))
    app.close()


def aws_sdk(c, base):
    """botocore's own chain, with the fakes that stand where moto has nothing."""
    from botocore.exceptions import ClientError, CredentialRetrievalError
    from botocore.session import Session
    made = {"AccessKeyId": "ASIAFAKE", "SecretAccessKey": "secret", "SessionToken": "session"}
    role = "arn:aws:iam::123456789012:role/unsealer"
    sts, container = aws.STS(role, lambda session: made), aws.Container(lambda session: made)
    token = os.path.join(base, "token")

    def credentials():
        found = Session().get_credentials().get_frozen_credentials()
        return {"AccessKeyId": found.access_key, "SecretAccessKey": found.secret_key, "SessionToken": found.token}

    def write(text):
        with open(token, "w") as f:
            f.write(text)

    nothing = dict(HOME=base, AWS_EC2_METADATA_DISABLED="true", AWS_MAX_ATTEMPTS="1", AWS_METADATA_SERVICE_NUM_ATTEMPTS="1")
    with environment(**nothing, AWS_ROLE_ARN=role, AWS_WEB_IDENTITY_TOKEN_FILE=token, AWS_ENDPOINT_URL_STS=sts.url,
                     AWS_DEFAULT_REGION="eu-west-1"):
        write(sts.token())
        c.equal("aws: a web identity", credentials(), made)
        for name, text in (("an expired token", sts.token(exp=time.time() - 5)), ("another pod's token", sts.token(sub="other")),
                           ("another's token", aws.sign_jwt(aws.new_rsa(), {"exp": time.time() + 60}))):
            write(text)
            c.that(f"aws: {name} is refused", raised(ClientError, credentials))
    write(container.token)
    named = dict(AWS_CONTAINER_CREDENTIALS_FULL_URI=container.url + "v1/credentials")
    with environment(**nothing, **named, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=token):
        c.equal("aws: a container, its token in a file", credentials(), made)
    with environment(**nothing, **named, AWS_CONTAINER_AUTHORIZATION_TOKEN=container.token):
        c.equal("aws: a container, its token in the environment", credentials(), made)
    with environment(**nothing, **named, AWS_CONTAINER_AUTHORIZATION_TOKEN="wrong"):
        c.that("aws: a wrong token of a container is refused", raised(CredentialRetrievalError, credentials))
    sts.close(), container.close()


@contextlib.contextmanager
def environment(**values):
    """These variables, and none of AWS's or Azure's beside them."""
    before = dict(os.environ)
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "IDENTITY_", "MSI_")):
            del os.environ[name]
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def google_sdk(c, base):
    from google.api_core import exceptions
    from google.cloud.kms_v1 import KeyManagementServiceClient
    from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceRestTransport
    from google.auth.exceptions import RefreshError
    from google.oauth2 import service_account
    identity = google.Identity()
    kms = google.CloudKMS(identity)

    def client(info):
        credentials = service_account.Credentials.from_service_account_info(info, scopes=[google.KMS])
        return KeyManagementServiceClient(transport=KeyManagementServiceRestTransport(
            host=f"127.0.0.1:{kms.port}", credentials=credentials, url_scheme="http"))

    sdk = client(identity.credentials())
    made = sdk.encrypt(request={"name": google.KEY, "plaintext": b"secret"}, retry=None)
    c.equal("google: the version that wrapped", made.name, google.KEY + "/cryptoKeyVersions/1")
    c.equal("google: decrypt", sdk.decrypt(request={"name": google.KEY, "ciphertext": made.ciphertext}, retry=None).plaintext, b"secret")
    kms.rotate()
    c.equal("google: after a rotation", sdk.encrypt(request={"name": google.KEY, "plaintext": b"x"}, retry=None).name[-1], "2")
    c.equal("google: the old version opens", sdk.decrypt(request={"name": google.KEY, "ciphertext": made.ciphertext}, retry=None).plaintext, b"secret")
    bad = bytes([made.ciphertext[0]]) + b"x" * 40
    c.that("google: another blob is refused", raised(exceptions.BadRequest, sdk.decrypt, {"name": google.KEY, "ciphertext": bad}))
    c.that("google: a missing key is not found", raised(exceptions.NotFound, sdk.encrypt, {"name": google.KEY + "x", "plaintext": b"x"}))
    kms.denied = {"encrypt"}
    c.that("google: a missing right is refused", raised(exceptions.Forbidden, sdk.encrypt, {"name": google.KEY, "plaintext": b"x"}))
    kms.denied = set()
    kms.states[(google.KEY, 1)] = "DESTROYED"
    c.that("google: a destroyed version", raised(exceptions.BadRequest, sdk.decrypt, {"name": google.KEY, "ciphertext": made.ciphertext}))
    other = client({**identity.credentials(), "private_key": google.pem(google.new_rsa())})
    c.that("google: another key is refused", raised(RefreshError, other.encrypt, {"name": google.KEY, "plaintext": b"x"}))
    identity.close(), kms.close()


def alicloud_sdk(c, base):
    from aliyunsdkcore.acs_exception.exceptions import ServerException
    from aliyunsdkcore.client import AcsClient
    from aliyunsdkkms.request.v20160120.DecryptRequest import DecryptRequest
    from aliyunsdkkms.request.v20160120.EncryptRequest import EncryptRequest
    kms = alicloud.KMS()

    def ask(request, secret="ali-s3cret", **values):
        request.set_protocol_type("http")
        request.set_endpoint(f"127.0.0.1:{kms.port}")
        request.set_accept_format("json")
        for name, value in values.items():
            getattr(request, "set_" + name)(value)
        sdk = AcsClient("LTAI-test", secret, "eu-central-1", auto_retry=False)
        return json.loads(sdk.do_action_with_exception(request))

    plain = base64.b64encode(b"secret").decode()
    made = ask(EncryptRequest(), KeyId=kms.key, Plaintext=plain)
    c.equal("alicloud: the key that wrapped", made["KeyId"], kms.key)
    c.equal("alicloud: decrypt", ask(DecryptRequest(), CiphertextBlob=made["CiphertextBlob"])["Plaintext"], plain)
    c.that("alicloud: a wrong secret is refused", raised(ServerException, lambda: ask(EncryptRequest(), "wrong", KeyId=kms.key, Plaintext=plain)))
    c.that("alicloud: a missing key is not found", raised(ServerException, lambda: ask(EncryptRequest(), KeyId="nope", Plaintext=plain)))
    c.that("alicloud: another blob is refused", raised(ServerException, lambda: ask(DecryptRequest(), CiphertextBlob=plain)))
    kms.skew = 3600
    c.that("alicloud: another time is refused", raised(ServerException, lambda: ask(EncryptRequest(), KeyId=kms.key, Plaintext=plain)))
    kms.close()


def raised(kind, call, *args, **named):
    try:
        call(*args, **named)
    except kind:
        return True
    except Exception as e:
        print(f"     {type(e).__name__}: {e}"[:300])
    return False


def main():
    c = Checks()
    with workdir("sdk") as base:
        for part in (azure_sdk, aws_sdk, google_sdk, alicloud_sdk):
            c.section(part.__name__, lambda: part(c, base))
    return c.close()


if __name__ == "__main__":
    sys.exit(main())
