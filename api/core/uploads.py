"""Files that come with a message as base64: measured by their text first, decoded only if they are not too many."""

from binascii import a2b_base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from api.core.claim import Attachment
from api.core.errors import FieldError, Invalid


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one message may bring; sizes are of the bytes, not of the base64, and count in bytes."""

    size: int = 10 * 1024 * 1024
    total: int = 15 * 1024 * 1024
    count: int = 20


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it came; `content` is base64 (RFC 4648 §4), padded and without line ends."""

    filename: str
    content_type: str
    content: str
    content_id: str | None = None

    def size(self) -> int:
        """Return how many bytes the base64 stands for."""
        return len(self.content) // 4 * 3 - self.content[-2:].count("=")


def check(files: Sequence[Upload], *, limits: Limits) -> None:
    """Raise Invalid with the pointers of what is too many or too large; nothing is decoded."""
    wrong = list(_complaints(files, limits)) if files else []
    if wrong:
        raise Invalid("There is more attached than is allowed.", errors=wrong)


def decode(files: Sequence[Upload]) -> tuple[Attachment, ...]:
    """Return the files with their bytes. Raises Invalid for what is not base64."""
    decoded = []
    for index, file in enumerate(files):
        try:
            content = a2b_base64(file.content, strict_mode=True)
        except ValueError:
            pointer = f"/attachments/{index}/content"
            raise Invalid(errors=[FieldError(pointer, "This is not base64.", "invalid_format")]) from None
        decoded.append(Attachment(file.filename, file.content_type, content, file.content_id))
    return tuple(decoded)


def _complaints(files: Sequence[Upload], limits: Limits) -> Iterator[FieldError]:
    if len(files) > limits.count:
        yield FieldError("/attachments", f"At most {limits.count} files; these are {len(files)}.", "too_many")
    for index, file in enumerate(files):
        if file.size() > limits.size:
            detail = f"At most {limits.size} bytes in a file; these are {file.size()}."
            yield FieldError(f"/attachments/{index}/content", detail, "too_large")
    total = sum(file.size() for file in files)
    if total > limits.total:
        yield FieldError("/attachments", f"At most {limits.total} bytes together; these are {total}.", "too_large")
