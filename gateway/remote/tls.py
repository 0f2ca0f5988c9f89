"""TLS towards a remote server: whom we trust, and the certificate that we show."""

import errno
import ssl
from pathlib import Path

from gateway.errors import BadConfiguration, BadRequest
from gateway.remote.outgoing import Outgoing
from gateway.remote.pkcs11 import SCHEME, security_token
from gateway.remote.server import Server


def client_context(server: Server, outgoing: Outgoing) -> ssl.SSLContext:
    """What connections to a server are secured with: TLS 1.2 or newer.

    Reads files, and may wait for a token: to be called in a thread. Raises BadRequest,
    naming the field, if the definition of the server cannot be used; BadConfiguration
    if an option cannot.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _trust(context, outgoing)
    if not (server.certificate_file or server.certificate_key_file or server.pkcs11):
        return context
    try:
        _certify(context, server, outgoing)
    except BadRequest as error:
        raise BadRequest(f'server "{server.name}": {error.message}') from error
    return context


def _trust(context: ssl.SSLContext, outgoing: Outgoing) -> None:
    """Check certificates against those of the operating system, or of the option."""
    if not outgoing.verify_peers:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return
    if outgoing.ca_certificates is None:
        context.load_default_certs()
        return
    try:
        context.load_verify_locations(outgoing.ca_certificates)
    except OSError as error:  # an SSLError is one
        raise BadConfiguration(
            f"HttpsCACertificates: {outgoing.ca_certificates}: {_reason(error)}"
        ) from error


def _certify(context: ssl.SSLContext, server: Server, outgoing: Outgoing) -> None:
    """Give the context the server's client certificate and its key."""
    key = server.certificate_key_file
    if not server.certificate_file:
        raise BadRequest(
            "CertificateFile is needed beside CertificateKeyFile or Pkcs11"
        )
    _readable("CertificateFile", server.certificate_file)
    if server.pkcs11:
        if key and not key.startswith(SCHEME):
            raise BadRequest(
                f'CertificateKeyFile: beside "Pkcs11" it is a URI "{SCHEME}..."'
                " or empty, because the key is in the token"
            )
        token = security_token(outgoing.pkcs11)
        token.use(context, server.certificate_file, key)
        return
    if key.startswith(SCHEME):
        raise BadRequest('CertificateKeyFile: a key in a token needs "Pkcs11": true')
    if key:
        _readable("CertificateKeyFile", key)
    _load(context, server)


def _load(context: ssl.SSLContext, server: Server) -> None:
    key = server.certificate_key_file or None
    try:
        # Never None: OpenSSL would ask for the password on the terminal.
        password = server.certificate_key_password
        context.load_cert_chain(server.certificate_file, key, password)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise BadRequest(_diagnosis(server, error)) from None


def _diagnosis(server: Server, error: Exception) -> str:
    """Which of the fields is wrong. OpenSSL's words alone do not say it."""
    named = "CertificateKeyFile" if server.certificate_key_file else "CertificateFile"
    file = server.certificate_key_file or server.certificate_file
    reason = getattr(error, "reason", None) or ""
    if reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
        return f"{named}: the key in {file} does not belong to the certificate"
    if not _has(server.certificate_file, "CERTIFICATE-----"):
        file = server.certificate_file
        return f"CertificateFile: no certificate as PEM is in {file}"
    if not _has(file, "PRIVATE KEY-----"):
        return f"{named}: no private key as PEM is in {file}"
    if _has(file, "ENCRYPTED"):
        if not server.certificate_key_password:
            return f"CertificateKeyPassword: the key in {file} needs one"
        return f"CertificateKeyPassword: it does not open the key in {file}"
    return f"{named}: {file}: {_reason(error)}"


def _has(file: str, words: str) -> bool:
    return words in Path(file).read_text("latin-1")


def _readable(field: str, file: str) -> None:
    """Raise BadRequest, naming the field, unless it is a file that can be opened."""
    try:
        if not Path(file).is_file() and Path(file).exists():
            raise BadRequest(f"{field}: {file}: not a file")
        with Path(file).open("rb"):
            return
    except (OSError, ValueError) as error:
        raise BadRequest(f"{field}: {file}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Why a file cannot be used, in words that fit behind its name."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").replace("_", " ").lower()
    if isinstance(error, OSError) and error.errno == errno.ENOENT:
        return "no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)
