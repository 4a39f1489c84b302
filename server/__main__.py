"""The daemon, as the keeper starts it: `python -m icehouse.server`. Alone it serves nothing."""

import asyncio
import contextlib
import os
import signal
import socket
import sys

from icehouse.server import config, daemon, holdings, logs
from icehouse.server.frames import RefusedError
from icehouse.server.keeper import CHANNEL_VARIABLE, WATCHDOG_VARIABLE


async def feed_watchdog(held: holdings.Holdings, seconds: float) -> None:
    """Say three times within the watchdog's patience that the loop turns."""
    while True:
        held.alive()
        await asyncio.sleep(seconds / 3)


async def run(settings: config.Config, held: holdings.Holdings) -> None:
    """Serve until SIGTERM, or until the keeper has ended."""
    loop = asyncio.get_running_loop()
    serving = asyncio.ensure_future(daemon.main(settings, held, held.listener))

    def stop() -> None:
        # Once: the end of the channel stays readable, and the daemon must be left to clean up.
        loop.remove_reader(held.fileno())
        loop.remove_signal_handler(signal.SIGTERM)
        serving.cancel()

    loop.add_signal_handler(signal.SIGTERM, stop)
    loop.add_reader(held.fileno(), stop)
    seconds = float(os.environ.get(WATCHDOG_VARIABLE, "0"))
    feeding = asyncio.ensure_future(feed_watchdog(held, seconds)) if seconds else None
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    if feeding is not None:
        feeding.cancel()


def main() -> int:
    """Take over what the keeper holds and serve."""
    try:
        number = int(os.environ.pop(CHANNEL_VARIABLE))
        settings = config.from_environment()
    except (KeyError, ValueError):
        logs.complain("this is the daemon's own process: start it with `icehouse serve`")
        return 2
    channel = socket.socket(fileno=number)
    os.set_inheritable(number, False)  # noqa: FBT003
    try:
        asyncio.run(run(settings, holdings.Holdings(channel)))
    except holdings.KeeperGoneError:
        # There is nothing left to do, and nobody to do it for.
        return 0
    except (OSError, RefusedError) as error:
        logs.complain(f"the daemon ends: {error}")
        return 1
    finally:
        # The kernel closes it when this process has ended. The keeper kills a daemon that closes
        # it earlier, which would then end without its message and its exit status.
        channel.detach()
    return 0


if __name__ == "__main__":
    sys.exit(main())
