"""Mail addresses: what may be written to, and in which form."""

import email.utils

from email_validator import EmailNotValidError, validate_email

from api.core.claim import Address


def normalise(text: str) -> str:
    """Return an addr-spec in its ASCII form, the domain in lower case and IDNA 2008. Raises ValueError with a sentence.

    Stricter than RFC 5321 on purpose: no quoted or non-ASCII local part, no address literal, a dot in the domain.
    No DNS is asked.
    """
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
