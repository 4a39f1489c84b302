"""Structured logs on stderr: JSON lines, or text where a person reads.

A line is one `write` of at most PIPE_BUF bytes, so lines of several processes never mix, and it is
made only when stderr takes it at once: a reader of the log that has stopped must not stop the
daemon. What is lost, and what repeats too often, is counted and told with the next line.

The keeper uses this too, so it imports little (H12).
"""

import json
import os
import select
import sys
import time

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
FORMATS = ("auto", "json", "text")
LINE_BYTES_MAX = 4096
# So many lines of one event and level within so many seconds; what is more is counted.
REPEATS_MAX = 20
REPEATS_SECONDS = 10.0
EVENTS_MAX = 1024


def plain(value: object) -> str:
    """One value as text without spaces and control characters, quoted where it has any."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    if text and all(character.isprintable() and character not in ' "=\\' for character in text):
        return text
    return json.dumps(text)


class Log:
    """Where a process logs. `who` tells its lines from those of the others: keeper, daemon."""

    def __init__(self, who: str, style: str = "auto", level: str = "info", fd: int = 2) -> None:
        self.who = who
        self.fd = fd
        self.style = style
        if style == "auto":
            self.style = "text" if os.isatty(fd) else "json"
        self.least = LEVELS[level]
        self.lost = 0
        self._recent: dict[tuple[str, str], tuple[float, int]] = {}
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def debug(self, event: str, message: str = "", **fields: object) -> None:
        """Tell what helps to find a fault of our own."""
        self._tell("debug", event, message, fields)

    def info(self, event: str, message: str = "", **fields: object) -> None:
        """Tell what happens in the normal course."""
        self._tell("info", event, message, fields)

    def warning(self, event: str, message: str = "", **fields: object) -> None:
        """Tell what somebody should look at."""
        self._tell("warning", event, message, fields)

    def error(self, event: str, message: str = "", **fields: object) -> None:
        """Tell what went wrong here."""
        self._tell("error", event, message, fields)

    def _tell(self, level: str, event: str, message: str, fields: dict[str, object]) -> None:
        if LEVELS[level] < self.least:
            return
        suppressed = self._repeats(level, event)
        if suppressed is None:
            return
        told = {**fields, **({"suppressed": suppressed} if suppressed else {})}
        if self.lost:
            told["lost"] = self.lost
        line = self._json(level, event, message, told)
        if self.style == "text":
            line = self._text(level, event, message, told)
        self._write(line)

    def _repeats(self, level: str, event: str) -> int | None:
        """How many lines like this were suppressed since the last; None: this one is, too."""
        now = time.monotonic()
        key = (level, event)
        since, count = self._recent.get(key, (now, 0))
        if now - since >= REPEATS_SECONDS:
            self._recent[key] = (now, 1)
            return max(count - REPEATS_MAX, 0)
        if len(self._recent) >= EVENTS_MAX:
            self._recent.clear()
        self._recent[key] = (since, count + 1)
        return None if count >= REPEATS_MAX else 0

    def _json(self, level: str, event: str, message: str, fields: dict[str, object]) -> bytes:
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        document: dict[str, object] = {
            "time": f"{stamp}.{int(now * 1000) % 1000:03d}Z",
            "level": level,
            "process": self.who,
            "event": event,
        }
        if message:
            document["message"] = message
        document.update((key, value) for key, value in fields.items() if key not in document)
        line = json.dumps(document, default=str).encode()
        if len(line) < LINE_BYTES_MAX:
            return line
        for key in list(document)[4:]:
            document[key] = str(document[key])[:80]
        line = json.dumps(document).encode()
        return line if len(line) < LINE_BYTES_MAX else json.dumps({"event": event}).encode()

    def _text(self, level: str, event: str, message: str, fields: dict[str, object]) -> bytes:
        words = [time.strftime("%H:%M:%S"), f"{level:7}", f"{self.who:6}", message or event]
        words += [f"{key}={plain(value)}" for key, value in fields.items()]
        line = " ".join(words)
        # What others sent may be in a message; it must not make lines of its own.
        line = "".join(letter if letter.isprintable() else "?" for letter in line)
        return line.encode("utf-8", "replace")[: LINE_BYTES_MAX - 1]

    def _write(self, line: bytes) -> None:
        try:
            if self._poll.poll(0):
                os.write(self.fd, line + b"\n")
                self.lost = 0
                return
        except OSError:
            pass
        self.lost += 1


def complain(message: str) -> None:
    """Say why this program ends, on stderr, in one line, as the command line does."""
    print(f"icehouse: {message}", file=sys.stderr, flush=True)
