"""A remote server: who it is, and what it can do.

Three forms of the same: the fields that a person wrote, the `Server` that the client
works with, and what is shown of it to others, which never holds a secret.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from gateway.definition import Unusable, definition_of
from gateway.errors import BadRequest

#: Fields with a meaning of their own; all the others are properties, shown as strings.
_FIELDS = frozenset(
    {
        *("Url", "Username", "Password", "HttpHeaders", "Timeout", "Pkcs11", "OAuth2"),
        *("CertificateFile", "CertificateKeyFile", "CertificateKeyPassword"),
    }
)
_SECRET = ("ClientSecret",)  # within OAuth2


@dataclass(frozen=True, slots=True)
class Server:
    """The definition of a remote DICOMweb server."""

    name: str  # free text
    url: str  # ends with a slash
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    http_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: int = 0  # seconds of silence; 0: as the global option says
    certificate_file: str = ""  # PEM; empty: none
    certificate_key_file: str = ""  # empty: the key is beside the certificate
    certificate_key_password: str = field(default="", repr=False)
    pkcs11: bool = False  # the key is in the token of the global option
    has_delete: bool = False  # it may be asked to delete
    chunked_transfers: bool = True  # it takes bodies of unknown length
    universal_transfer_syntax: bool = True  # it understands transfer-syntax=*
    cache: bool = False  # what is fetched through the proxy is kept in the archive
    oauth2: Mapping[str, str] | None = field(default=None, repr=False)
    properties: Mapping[str, str] = field(default_factory=dict)  # of the user


def server_of(name: str, fields: object) -> Server:
    """The server that these fields define, in any form; raises BadRequest."""
    if not name.isprintable() or not name.strip():
        raise BadRequest("the name of a server is empty, or has control characters")
    try:
        found: Mapping[str, Any] = definition_of(fields)
    except Unusable as error:
        where = f"{error.field} of the server {name}" if error.field else name
        raise BadRequest(f"{where}: {error.expected} is expected") from None
    return Server(
        name=name,
        url=found["Url"].rstrip("/") + "/",
        username=found.get("Username", ""),
        password=found.get("Password", ""),
        http_headers=found.get("HttpHeaders", {}),
        timeout=found.get("Timeout", 0),
        certificate_file=found.get("CertificateFile", ""),
        certificate_key_file=found.get("CertificateKeyFile", ""),
        certificate_key_password=found.get("CertificateKeyPassword", ""),
        pkcs11=found.get("Pkcs11", False),
        has_delete=found.get("HasDelete", False),
        chunked_transfers=found.get("ChunkedTransfers", True),
        universal_transfer_syntax=found.get("HasWadoRsUniversalTransferSyntax", True),
        cache=found.get("Cache", False),
        oauth2=found.get("OAuth2"),
        properties={key: _property(found[key]) for key in found if key not in _FIELDS},
    )


def document(server: Server) -> dict[str, object]:
    """What is stored of a server; `server_of` makes the same server of it."""
    fields: dict[str, object] = {"Url": server.url, **server.properties}
    optional = {
        "Username": server.username,
        "Password": server.password,
        "HttpHeaders": dict(server.http_headers),
        "Timeout": server.timeout,
        "CertificateFile": server.certificate_file,
        "CertificateKeyFile": server.certificate_key_file,
        "CertificateKeyPassword": server.certificate_key_password,
        "Pkcs11": server.pkcs11,
    }
    fields.update({key: value for key, value in optional.items() if value})
    if server.password and not server.username:
        fields["Username"] = ""
    if server.oauth2 is not None:
        fields["OAuth2"] = dict(server.oauth2)
    return fields


def public(server: Server) -> dict[str, object]:
    """What others may see of a server: of secrets only that there are some."""
    shown: dict[str, object] = {
        "Url": server.url,
        "HttpHeaders": list(server.http_headers),
        "Pkcs11": server.pkcs11,
        "Timeout": server.timeout,
        **server.properties,
    }
    if server.username:
        shown.update({"Username": server.username, "Password": None})
    if server.certificate_file:
        shown.update(
            {
                "CertificateFile": server.certificate_file,
                "CertificateKeyFile": None,
                "CertificateKeyPassword": None,
            }
        )
    if server.oauth2 is not None:
        shown["OAuth2"] = {
            key: _shown(key, value) for key, value in server.oauth2.items()
        }
    return shown


def _shown(key: str, value: str) -> str | None:
    """A field of OAuth2 for others: a query may hold a key, and a user a password."""
    if key in _SECRET:
        return None
    if key != "TokenUrl":
        return value
    parts = urlsplit(value)
    place = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=place, query="", fragment="").geturl()


def _property(value: object) -> str:
    """A property as a string, spelled as Orthanc does."""
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value)
