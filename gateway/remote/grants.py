"""How a token is asked for: the two grants of OAuth 2.0 for programs.

Client credentials (RFC 6749 4.4), and the assertions that a Google service account
signs with its key (RFC 7523 2.1). What is made here is the form to post; who posts it,
and how long the answer is good for, is said in ``gateway.remote.tokens``.
"""

import json
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote_plus, urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.errors import BadRequest

CLIENT_CREDENTIALS = "client_credentials"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"

#: What a service account asks for when the definition does not say.
HEALTHCARE = "https://www.googleapis.com/auth/cloud-healthcare"

_LIFETIME = 3600  # seconds that an assertion is good for: the most that Google takes
_SERVICE_ACCOUNT = ("service_account", JWT_BEARER)


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What is posted, as a form, to get a token."""

    url: str
    form: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


def token_request(oauth2: Mapping[str, str]) -> TokenRequest:
    """The request that a server's ``OAuth2`` asks for. Reads files: for a thread.

    Raises BadRequest, naming the field, if it cannot be made.
    """
    kind = oauth2.get("GrantType", "").lower()
    if not kind:
        has_account = "ServiceAccountFile" in oauth2
        kind = _SERVICE_ACCOUNT[0] if has_account else CLIENT_CREDENTIALS
    if kind == CLIENT_CREDENTIALS:
        return _client_credentials(oauth2)
    if kind in _SERVICE_ACCOUNT:
        return _service_account(oauth2)
    raise BadRequest(
        f'OAuth2.GrantType: "{CLIENT_CREDENTIALS}" or "{_SERVICE_ACCOUNT[0]}" is expected'
    )


def _client_credentials(oauth2: Mapping[str, str]) -> TokenRequest:
    name, secret = _needed(oauth2, "ClientId"), _needed(oauth2, "ClientSecret")
    form = {"grant_type": CLIENT_CREDENTIALS, **_wishes(oauth2)}
    headers = {}
    way = oauth2.get("ClientAuthentication", "basic").lower()
    if way == "basic":
        # Both are encoded as in a form before (RFC 6749 2.3.1).
        pair = f"{quote_plus(name)}:{quote_plus(secret)}".encode()
        headers["Authorization"] = "Basic " + b64encode(pair).decode()
    elif way == "post":
        form.update({"client_id": name, "client_secret": secret})
    else:
        raise BadRequest('OAuth2.ClientAuthentication: "basic" or "post" is expected')
    return TokenRequest(_url(_needed(oauth2, "TokenUrl")), form, headers)


def _wishes(oauth2: Mapping[str, str]) -> dict[str, str]:
    """What the token is to be for, where that is said."""
    named = {"Scope": "scope", "Audience": "audience", "Resource": "resource"}
    return {named[key]: oauth2[key] for key in named if oauth2.get(key)}


def _service_account(oauth2: Mapping[str, str]) -> TokenRequest:
    file = _needed(oauth2, "ServiceAccountFile")
    account = _account(file)
    url = _url(oauth2.get("TokenUrl") or _text(account, "token_uri", file))
    now = int(time.time())
    claims = {
        "iss": _text(account, "client_email", file),
        "scope": oauth2.get("Scope") or HEALTHCARE,
        "aud": oauth2.get("Audience") or url,
        "iat": now,
        "exp": now + _LIFETIME,
    }
    if oauth2.get("Subject"):
        claims["sub"] = oauth2["Subject"]
    header = {"alg": "RS256", "typ": "JWT"}
    if account.get("private_key_id"):
        header["kid"] = str(account["private_key_id"])
    key = _key(_text(account, "private_key", file), file)
    form = {"grant_type": JWT_BEARER, "assertion": _signed(header, claims, key)}
    return TokenRequest(url, form, {})


def _account(file: str) -> Mapping[str, object]:
    try:
        if Path(file).exists() and not Path(file).is_file():
            raise BadRequest(f"OAuth2.ServiceAccountFile: {file}: not a file")
        account = json.loads(Path(file).read_bytes())
    except OSError as error:
        raise BadRequest(
            f"OAuth2.ServiceAccountFile: {file}: {error.strerror}"
        ) from error
    except ValueError:  # its words may show what is in the file
        raise BadRequest(f"OAuth2.ServiceAccountFile: {file} is not JSON") from None
    if not isinstance(account, dict):
        raise BadRequest(f"OAuth2.ServiceAccountFile: {file} is not a JSON object")
    return account


def _key(pem: str, file: str) -> RSAPrivateKey:
    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise BadRequest(
            f'OAuth2.ServiceAccountFile: "private_key" of {file} is no RSA key as PEM'
        ) from None
    return key


def _signed(
    header: Mapping[str, str], claims: Mapping[str, object], key: RSAPrivateKey
) -> str:
    """A JSON Web Token signed with RS256 (RFC 7515 3.1, RFC 7518 3.3)."""
    text = ".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
    return f"{text}.{_base64url(key.sign(text.encode(), PKCS1v15(), SHA256()))}"


def _base64url(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _needed(oauth2: Mapping[str, str], key: str) -> str:
    if not oauth2.get(key):
        raise BadRequest(f"OAuth2.{key} is needed")
    return oauth2[key]


def _text(account: Mapping[str, object], key: str, file: str) -> str:
    value = account.get(key)
    if not isinstance(value, str) or not value:
        raise BadRequest(f'OAuth2.ServiceAccountFile: {file} has no "{key}"')
    return value


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        fits = False
    if not fits:
        raise BadRequest(
            'OAuth2.TokenUrl: an address that starts with "http://" or "https://" is'
            " expected"
        )
    return text
