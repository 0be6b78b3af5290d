"""Mail addresses: what may be written to, and in which form."""

import email.utils
import re
from functools import lru_cache

from email_validator import EmailNotValidError, validate_email

from api.core.claim import Address

#: A local part that is its own normal form: a lower-case dot-atom (RFC 5322 §3.2.3) of at most 64 octets.
_LOCAL = re.compile(r"(?=.{1,64}@)[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*@")


def normalise(text: str) -> str:
    """Return an addr-spec in its ASCII form, the domain in lower case and IDNA 2008. Raises ValueError with a sentence.

    Stricter than RFC 5321 on purpose: no quoted or non-ASCII local part, no address literal, a dot in the domain.
    No DNS is asked.
    """
    local = _LOCAL.match(text)
    domain = text[local.end() :] if local else ""
    if local and domain.isascii():
        # Nothing but the domain is left to be looked at, and there are far fewer of them than addresses.
        try:
            known = local[0] + _domain(domain)
        except EmailNotValidError:
            pass  # said below, about the whole address
        else:
            if len(known) <= 254:
                return known
    return _checked(text)


@lru_cache(maxsize=4096)
def _domain(domain: str) -> str:
    return str(validate_email(f"x@{domain}", check_deliverability=False).ascii_domain)


def _checked(text: str) -> str:
    try:
        valid = validate_email(
            text,
            check_deliverability=False,
            allow_smtputf8=False,
            allow_quoted_local=False,
            allow_domain_literal=False,
            allow_display_name=False,
        )
    except EmailNotValidError as error:
        raise ValueError(str(error)) from None
    if valid.ascii_email is None or len(valid.ascii_email) > 254:  # RFC 5321 §4.5.3.1.3, less the brackets
        raise ValueError("The address is too long.")
    return valid.ascii_email


def key(address: str) -> str:
    """Return what two spellings of one mailbox have in common: they are compared without case."""
    return address.casefold()


def parse(text: str) -> Address:
    """Read `Name <address>` or a bare address, as settings hold it. Raises ValueError with a sentence."""
    name, address = email.utils.parseaddr(text)
    if not address:
        raise ValueError(f"{text!r} is not of the form 'Name <address>'.")
    if any(ord(character) < 32 or character == "\x7f" for character in name):
        raise ValueError("The name holds a control character.")
    return Address(normalise(address), name or None)
