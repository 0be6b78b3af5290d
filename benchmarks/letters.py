"""The mail that every sender sends: text and HTML, about 3.5 KB on the wire, half of it beyond ASCII."""

import random
from dataclasses import dataclass
from itertools import islice

SENDER = "Postroom Shop <shop@sender.example>"
_PLAIN = (
    "order",
    "parcel",
    "address",
    "invoice",
    "delivery",
    "tomorrow",
    "morning",
    "please",
    "keep",
    "this",
    "message",
    "number",
    "customer",
)
_WIDE = (
    "Bestellung",
    "Übergabe",
    "Grüße",
    "élégant",
    "façade",
    "señor",
    "naïve",
    "Größe",
    "Straße",
    "café",
    "déjà",
    "Ærø",
    "Łódź",
    "Žižkov",
    "kräftig",
)
_WORDS = 112


@dataclass(frozen=True, slots=True)
class Letter:
    """One mail to one recipient."""

    number: int
    recipient: str
    subject: str
    text: str
    html: str


def letter(number: int) -> Letter:
    """Return the mail of this number, the same in every process; odd ones hold words beyond ASCII."""
    rand = random.Random(number)
    words = _PLAIN if number % 2 == 0 else [*_PLAIN, *_WIDE]
    name = "Ann Example" if number % 2 == 0 else "Zoë Ünïcode"
    lines = [" ".join(rand.choices(words, k=8)) + "." for _ in range(_WORDS // 8)]
    return Letter(
        number,
        f"user{number}@recipient.example",
        f"{'Your order' if number % 2 == 0 else 'Ihre Bestellung für'} {number}",
        f"Hello {name},\r\n\r\n" + "\r\n".join(lines) + f"\r\n\r\nOrder {number}\r\n",
        _page(name, number, lines),
    )


def letters(count: int) -> list[Letter]:
    """Return the first mails."""
    return [letter(number) for number in range(count)]


def _page(name: str, number: int, lines: list[str]) -> str:
    style = "margin:0 0 12px 0;font-family:Arial,sans-serif;font-size:15px;line-height:22px;color:#222222"
    paragraphs = [
        f'<p style="{style}">{" ".join(islice(lines, start, start + 4))}</p>' for start in range(0, len(lines), 4)
    ]
    return (
        '<!DOCTYPE html>\r\n<html lang="en">\r\n<head><meta charset="utf-8"><title>Order</title></head>\r\n'
        '<body style="margin:0;padding:24px;background:#f6f6f6">\r\n'
        f'<h1 style="font-size:20px;{style}">Hello {name}</h1>\r\n'
        + "\r\n".join(paragraphs)
        + f'\r\n<p style="{style}"><a href="https://shop.example/orders/{number}">Order {number}</a></p>\r\n'
        "</body>\r\n</html>\r\n"
    )
