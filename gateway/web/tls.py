"""TLS as the settings have it: our certificate, and who has to show one."""

import ssl

from gateway.config.settings import Settings
from gateway.errors import BadConfiguration

#: Orthanc's numbers of the protocols; those below TLS 1.0 stand for it.
_PROTOCOLS = {
    0: ssl.TLSVersion.TLSv1,
    1: ssl.TLSVersion.TLSv1,
    2: ssl.TLSVersion.TLSv1,
    3: ssl.TLSVersion.TLSv1_1,
    4: ssl.TLSVersion.TLSv1_2,
    5: ssl.TLSVersion.TLSv1_3,
}


def server_context(settings: Settings) -> ssl.SSLContext | None:
    """What connections are secured with; None for plain HTTP.

    Raises BadConfiguration, naming the option, for what cannot be used.
    """
    if not settings.ssl_enabled:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _PROTOCOLS[settings.ssl_minimum_protocol_version]
    option = "SslCertificate"
    try:
        context.load_cert_chain(settings.ssl_certificate)
        option = "SslCiphersAccepted"
        if settings.ssl_ciphers_accepted is not None:
            context.set_ciphers(":".join(settings.ssl_ciphers_accepted))
        option = "SslTrustedClientCertificates"
        if settings.ssl_verify_peers:
            context.load_verify_locations(settings.ssl_trusted_client_certificates)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise BadConfiguration(f"{option} cannot be used: {error}") from error
    return context
