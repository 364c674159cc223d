"""Make captured text safe to keep: no credentials in URLs, nothing that UTF-8 cannot hold."""

from __future__ import annotations

import re

# Texts, that are compiled when they are first needed.
_URL = r"(?s)^(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>.*)$"
_EMBEDDED_USERINFO = r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^/\s?#@]*@"
_PORT = r":\d*$"


def strip_userinfo(url: str) -> str:
    """Return ``url`` without the credentials in it.

    The whole ``user:password@`` goes, except that ssh keeps its user name, which is part of the
    address there and no secret. The scp form ``git@host:path`` and plain paths have nothing to
    strip. For http the query goes too: hosts accept tokens in it.
    """
    match = re.match(_URL, url)
    if match is None:
        return url
    scheme, authority, rest = match["scheme"], match["authority"], match["rest"]
    if "@" in authority:
        userinfo, _, host = authority.rpartition("@")
        user = userinfo.partition(":")[0]
        authority = f"{user}@{host}" if scheme.lower().endswith("ssh") and user else host
    elif ":" in authority and not authority.startswith("[") and not re.search(_PORT, authority) and "@" in rest:
        # A password with a slash in it: everything up to the "@" is the credential, not a path.
        authority, rest = "", rest.partition("@")[2]
        head, slash, tail = rest.partition("/")
        authority, rest = head, slash + tail
    if scheme.lower().endswith(("http", "https")):
        rest = rest.partition("?")[0]
    return f"{scheme}://{authority}{rest}"


def strip_embedded_userinfo(text: str) -> str:
    """Return ``text`` with the credentials of every URL in it removed (proxy variables, lists of URLs)."""
    return re.sub(_EMBEDDED_USERINFO, r"\g<scheme>", text)


def storable_text(text: str) -> str:
    r"""Return ``text`` with bytes that were not UTF-8 shown as ``\xNN``, so that JSON can hold it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape" if _is_escaped(text) else "backslashreplace").decode(
            "utf-8", "backslashreplace"
        )
    return text


def _is_escaped(text: str) -> bool:
    """Tell whether every lone surrogate in ``text`` stands for one undecodable byte."""
    return all("\udc80" <= char <= "\udcff" for char in text if "\ud800" <= char <= "\udfff")
