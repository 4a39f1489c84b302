"""Numbers, times and texts as people read them."""

from datetime import UTC, datetime

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
# Of texts of others in lists; the page about the thing itself has all of it.
CUT = 80
MINUS = "\N{MINUS SIGN}"
NARROW = "\N{NARROW NO-BREAK SPACE}"
NONE = "\N{EN DASH}"
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


def size(amount: float) -> str:
    """Write bytes: `640 B`, `1.5 MiB`."""
    sign, amount = (MINUS, -amount) if amount < 0 else ("", amount)
    unit = 0
    while amount >= 1023.5 and unit < len(UNITS) - 1:
        amount /= 1024
        unit += 1
    digits = 0 if unit == 0 or amount >= 99.95 else 1
    text = f"{amount:.{digits}f}".removesuffix(".0")
    return f"{sign}{text}{NARROW}{UNITS[unit]}"


def count(number: float) -> str:
    """Write a count: `12,345`."""
    return f"{number:,.0f}"


def counted(number: float, one: str, many: str = "") -> str:
    """Write a count with its noun: `1 name`, `3 names`."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def rate(number: float) -> str:
    """Write how many a second."""
    digits = 0 if number >= 9.95 or number == 0 else 1 if number >= 0.095 else 2
    return f"{number:,.{digits}f}/s"


def size_rate(number: float) -> str:
    """Write how many bytes a second."""
    return f"{size(number)}/s"


def share(part: float) -> str:
    """Write a share of one: `91 %`; never 0 % or 100 % of what is only nearly so."""
    percent = part * 100
    if 0 < percent < 0.1:
        return f"<{NARROW}0.1{NARROW}%"
    if 99.9 < percent < 100:
        return f">{NARROW}99.9{NARROW}%"
    digits = 1 if 0 < percent < 9.95 or 99 < percent < 100 else 0
    return f"{percent:.{digits}f}{NARROW}%"


def seconds(number: float) -> str:
    """Write how long something took."""
    if number < 0.9995e-3:
        return f"{number * 1e6:.0f}{NARROW}µs"
    if number < 0.9995:
        text = f"{number * 1e3:.{1 if number < 9.95e-3 else 0}f}"
        return f"{text.removesuffix('.0')}{NARROW}ms"
    return lasting(number)


def lasting(number: float) -> str:
    """Write a longer time in its two largest units at most."""
    number = max(0.0, number)
    if number < 90:
        return f"{number:.0f}{NARROW}s"
    if number < 3600:
        return f"{number // 60:.0f}{NARROW}min"
    if number < 86_400:
        return f"{number // 3600:.0f}{NARROW}h {number % 3600 // 60:.0f}{NARROW}min"
    days = number // 86_400
    return f"{days:,.0f}{NARROW}d {number % 86_400 // 3600:.0f}{NARROW}h"


def age(then: datetime | None) -> str:
    """Write how long ago a time was."""
    return "" if then is None else lasting((datetime.now(UTC) - then).total_seconds())


def until(then: datetime | None) -> str:
    """Write how far ahead a time is."""
    return "" if then is None else lasting((then - datetime.now(UTC)).total_seconds())


def moment(then: datetime | None) -> str:
    """Write a time."""
    return "" if then is None else then.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def visible(text: object) -> str:
    """Write a text of others so that every character is seen: what has no form is escaped.

    So a name can neither turn the direction of the line around it nor hide anything.
    """
    written = str(text)
    if written.isprintable():
        return written
    return "".join(char if char.isprintable() else escaped(char) for char in written)


def escaped(char: str) -> str:
    """Write a character by its number."""
    short = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char)
    if short is not None:
        return short
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def sentence(text: str) -> str:
    """Have a text begin and end as a sentence does."""
    begun = text[:1].upper() + text[1:]
    return begun if begun.endswith((".", "!", "?")) else f"{begun}."


def cut(text: object, most: int = CUT) -> str:
    """Write the beginning of a text of others."""
    written = visible(text)
    return written if len(written) <= most else written[: most - 1] + ELLIPSIS
