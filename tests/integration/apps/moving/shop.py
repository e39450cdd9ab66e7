"""What the jobs of a shop do, whichever queue they come from. Each leaves a line in a journal."""

import hashlib
import os
from pathlib import Path

JOURNAL = Path(os.environ["SHOP_JOURNAL"])


def note(line: str) -> None:
    """Write it at the end."""
    with JOURNAL.open("a") as journal:
        journal.write(f"{line}\n")


def send_mail(to: str, text: str) -> None:
    """Send a mail; its server is away when it is asked for the first time."""
    if f"asked to mail {to}" not in JOURNAL.read_text():
        note(f"asked to mail {to}")
        raise ConnectionError("the mail server is away")
    note(f"mail to {to}: {text}")


def remind(to: str) -> None:
    """Remind somebody of a full basket."""
    note(f"reminded {to}")


def refund(order: int) -> None:
    """Pay an order back, which this shop never does."""
    note(f"refund of {order} was asked for")
    raise ValueError(f"order {order} is not paid")


def pack(order: int) -> None:
    """Pack an order."""
    note(f"packed {order}")


def bill(order: int) -> None:
    """Write the bill of a packed order."""
    note(f"bill of {order}, packed: {f'packed {order}' in JOURNAL.read_text()}")


def shrink(picture: str) -> None:
    """Compute a while."""
    note(f"{picture}: {hashlib.pbkdf2_hmac('sha256', picture.encode(), b'salt', 100_000).hex()}")


def total(prices: list[int]) -> int:
    """Tell a sum."""
    note(f"total of {len(prices)}")
    return sum(prices)
