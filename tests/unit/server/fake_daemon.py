"""A daemon that does what a test says, one line a connection: what the keeper's tests start.

With FAKE_DAEMON=refuse it ends with status 3 before it is ready.
"""

import json
import os
import signal
import socket
import sys
import time

from icehouse.server.holdings import Holdings
from icehouse.server.keeper import CHANNEL_VARIABLE


def contents(fd: int) -> str:
    return os.pread(fd, 100, 0).decode()


def obey(held: Holdings, inherited: dict[str, int], words: list[str]) -> object:
    match words:
        case ["pid"]:
            return os.getpid()
        case ["hold", key, text]:
            fd = os.memfd_create(key)
            os.write(fd, text.encode())
            try:
                held.hold(key, fd)
            except OSError as error:
                return str(error)
            finally:
                os.close(fd)
            return "held"
        case ["drop", key]:
            held.drop(key)
            # The next answer says that the keeper has done it.
            return "dropped"
        case ["inherited"]:
            return [[key, contents(fd)] for key, fd in inherited.items()]
        case ["sigint"]:
            return signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        case ["environment"]:
            return dict(os.environ)
        case ["alive"]:
            held.alive()
            return "told"
        case ["deaf"]:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            return "deaf"
        case ["exit", status]:
            os._exit(int(status))
        case ["close"]:
            held.channel.close()
            while True:
                time.sleep(60)
        case _:
            return f"what is {words}?"


def main() -> None:
    if os.environ.get("FAKE_DAEMON") == "refuse":
        sys.exit(3)
    held = Holdings(socket.socket(fileno=int(os.environ[CHANNEL_VARIABLE])))
    inherited = dict(held.all())
    held.ready()
    while True:
        connection, _ = held.listener.accept()
        with connection, connection.makefile("rw") as lines:
            for line in lines:
                print(json.dumps(obey(held, inherited, line.split())), file=lines, flush=True)


if __name__ == "__main__":
    main()
