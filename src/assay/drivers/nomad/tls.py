"""Certificates for Nomad: what we show, and what it means that a side refuses the other's."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Final

from assay.domain.errors import DriverUnavailable
from assay.drivers.nomad.options import Options

# OpenSSL's numbers (X509_V_ERR_…); Python has no names for them.
_NOT_YET, _ENDED = 9, 10
_OTHER_NAMES: Final = (62, 64)
_OWN: Final = "NOMAD_CLIENT_CERT and NOMAD_CLIENT_KEY"
_ALERTS: Final = {
    "CERTIFICATE_REQUIRED": f"it wants a certificate to be shown: name one in {_OWN}",
    "CERTIFICATE_EXPIRED": f"the certificate that it is shown has expired: name another in {_OWN}",
    "UNKNOWN_CA": f"it does not know the authority of the certificate that it is shown: name one of"
    f" its own authority's in {_OWN}",
    "BAD_CERTIFICATE": f"it refuses the certificate that it is shown: name another in {_OWN}",
}
"""What an agent says of the certificate that it was shown, or was not."""


def context(options: Options) -> ssl.SSLContext | bool:
    """For connections to it. Raises DriverUnavailable where a file is no certificate or key."""
    if not any(each.startswith("https:") for each in options.addresses):
        return True
    try:
        made = ssl.create_default_context(cafile=options.authority or None)
        if options.certificate:
            made.load_cert_chain(options.certificate, options.key or None)
    except (OSError, ValueError) as error:
        raise DriverUnavailable(
            "the certificates for Nomad can't be read; see NOMAD_CACERT, NOMAD_CLIENT_CERT"
            " and NOMAD_CLIENT_KEY",
            detail=str(error),
        ) from error
    return made


def refused(address: str, error: Exception) -> DriverUnavailable | None:
    """What is wrong with a certificate, if that is why a connection did not come or broke off."""
    for each in _reasons(error):
        # A class of aiohttp's own is one, too, without its number.
        known = hasattr(each, "verify_code")
        if words := _of_its_own(each) if known else _of_ours(str(each)):
            return DriverUnavailable(f"Nomad at {address}: {words}", detail=str(each))
    return None


def _reasons(error: BaseException) -> Iterator[BaseException]:
    """Those that an error is made of, and then itself: aiohttp wraps them in several ways."""
    for name in ("certificate_error", "os_error", "__cause__", "__context__"):
        if isinstance(inner := getattr(error, name, None), BaseException):
            yield from _reasons(inner)
    yield error


def _of_ours(said: str) -> str:
    if "[SSL: WRONG_VERSION_NUMBER]" in said:
        return "it does not speak TLS: say http:// in NOMAD_ADDR, or another port"
    return next((words for alert, words in _ALERTS.items() if f"ALERT_{alert}]" in said), "")


def _of_its_own(error: BaseException) -> str:
    code = getattr(error, "verify_code", None)
    if code == _ENDED:
        return "its certificate has expired; whoever runs it has to give it a new one"
    if code == _NOT_YET:
        return "its certificate is not valid yet; look at the clocks of both machines"
    if code in _OTHER_NAMES:
        return (
            "its certificate is for other names; say one of those in NOMAD_ADDR, or have"
            " another made for this one"
        )
    return "its certificate is not vouched for; name its authority in NOMAD_CACERT"
