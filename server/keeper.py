"""The keeper: the parent of the daemon, which holds the memory and starts what dies.

Purpose.   Every memory file lies here under a text key, so that a daemon that dies loses nothing:
           the next one gets all of them (holdings.py has the messages). Under systemd its
           descriptor store has them too, over the keeper's own death.
Lifecycle. `python -m icehouse.server.keeper` reads the configuration, then execs itself without the
           package around it (bootstrap.py), listens, starts the daemon, and, once that is ready,
           the admin process if `http` is set. SIGTERM, SIGINT and SIGHUP stop everything within
           `stop_seconds`; its children die with it (PR_SET_PDEATHSIG).
Threads.   One. Signals come through a pipe; everything happens in the loop of run().
Failure.   A fault of its own is logged and survived: its death would be the end of all data. A
           daemon that gives up before it was ever ready ends the keeper with its status; one that
           dies is started again, at once at first, then with growing delays.
"""

import contextlib
import json
import os
import resource
import select
import signal
import socket
import sys
import time

from icehouse.server import holdings, listening, logs, notify

SETTINGS_VARIABLE = "ICEHOUSE_SETTINGS"
CHANNEL_VARIABLE = "ICEHOUSE_CHANNEL"
WATCHDOG_VARIABLE = "ICEHOUSE_WATCHDOG_SECONDS"
# What is meant for the keeper alone.
PRIVATE_VARIABLES = (
    "NOTIFY_SOCKET LISTEN_PID LISTEN_FDS LISTEN_FDNAMES WATCHDOG_USEC WATCHDOG_PID".split()
)
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Deaths younger than this count, and the first few of them cost no delay.
CRASH_SECONDS = 10.0
CRASHES_FREE = 5
FIRST_DELAY = 0.1
ERROR_SECONDS = 0.1
# The admin process is worth less haste than the daemon.
ADMIN_DELAY_FACTOR = 30.0
# Seconds that a killed child may take to go; one that hangs in the kernel is left behind.
KILLS_MAX = 5
PR_SET_PDEATHSIG = 1
# Descriptors that are never used for holding.
FDS_SPARE = 16
FDS_SPARE_MAX = 1024


class Child:
    """A process that is started again when it ends."""

    def __init__(self, name: str, module: str, delay_max: float) -> None:
        self.name = name
        self.module = module
        self.delay_max = delay_max
        self.pid: int | None = None
        self.started = 0.0
        self.due: float | None = None
        self.crashes = 0

    def ended(self, now: float, delay: float = 0.0) -> None:
        """Note an end, and when to start it again."""
        self.crashes = self.crashes + 1 if now - self.started < CRASH_SECONDS else 1
        extra = self.crashes - CRASHES_FREE
        if extra > 0:
            delay = max(delay, min(self.delay_max, FIRST_DELAY * 2.0 ** min(extra - 1, 20)))
        self.due = now + delay

    def kill(self, number: int) -> None:
        """Send it a signal; it is our child until we have waited for it, so the pid is right."""
        if self.pid is not None:
            os.kill(self.pid, number)


def spawn(module: str, environment: dict[str, str], passed: int | None) -> int:
    """Start `python -m module`, which is killed if we die; it inherits one descriptor."""
    keeper = os.getpid()
    # The child must not run our handlers: they would write into our pipe.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    pid = os.fork()
    if pid != 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        return pid
    try:
        # A terminal's interrupt is for the keeper, which then stops its children in order.
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        die_with_parent(keeper)
        if passed is not None:
            os.set_inheritable(passed, True)  # noqa: FBT003
        # -P: never import from the folder that the keeper was started in.
        os.execve(sys.executable, [sys.executable, "-P", "-m", module], environment)  # noqa: S606
    except BaseException as error:
        logs.complain(f"cannot start {module}: {error}")
    finally:
        os._exit(127)


def die_with_parent(parent: int) -> None:
    """Ask the kernel for SIGKILL when the parent ends; it stands over an exec."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    except (ImportError, OSError, AttributeError, MemoryError):
        # Some ctypes needs writable code, which a hardened service may not have. The daemon also
        # ends when its channel closes, and the admin process harms nobody.
        pass
    if os.getppid() != parent:
        os._exit(0)


class Keeper:
    """Everything that the keeper knows. run() is its life."""

    def __init__(
        self, settings: dict[str, object], environment: dict[str, str], log: logs.Log
    ) -> None:
        self.settings = settings
        self.log = log
        self.notifier = notify.Notifier(environment)
        delay = float(str(settings["restart_delay_max"]))
        self.daemon = Child("daemon", "icehouse.server", delay)
        self.admin = Child("admin", "icehouse.server.admin", delay * ADMIN_DELAY_FACTOR)
        self.environment = {
            name: value for name, value in environment.items() if name not in PRIVATE_VARIABLES
        }
        if self.notifier.watchdog_seconds:
            self.environment[WATCHDOG_VARIABLE] = str(self.notifier.watchdog_seconds)
        self.held: dict[str, int] = {}
        self.offered: list[tuple[str, int]] = []
        self.limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        # A daemon that starts gets all that is held, under the same limit, and needs more besides.
        self.fds_max = self.limit - min(max(FDS_SPARE, self.limit // 8), FDS_SPARE_MAX)
        self.channel: socket.socket | None = None
        self.claim: listening.Claim | None = None
        self.was_ready = False
        self.status = 0
        self.stop_by: float | None = None
        self.kills = 0
        self.poll = select.poll()
        inherited = notify.Inherited(environment)
        self.notifier.remember(inherited.names)
        if inherited.listener is not None:
            self.listener = inherited.listener
        else:
            path, mode = str(settings["socket"]), int(str(settings["socket_mode"]))
            self.claim = listening.Claim(path, mode)
            self.listener = self.claim.listener
        self.held.update(inherited.stored)
        self.wake = self._catch_signals()

    def _catch_signals(self) -> socket.socket:
        read, write = socket.socketpair()
        read.settimeout(0)
        write.settimeout(0)
        self._wake_write = write
        signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
        for number in (*STOP_SIGNALS, signal.SIGCHLD):
            # nohup, and a shell's & in a script, have signals ignored for a reason.
            if signal.getsignal(number) != signal.SIG_IGN or number == signal.SIGCHLD:
                # The handler does nothing: its number comes through the pipe.
                signal.signal(number, lambda *_: None)
        self.poll.register(read, select.POLLIN)
        return read

    # --- the loop ---

    def run(self) -> int:
        """Keep until told to stop; the exit status."""
        pid = os.getpid()
        self.log.info(
            "keeper_started", pid=pid, socket=self.settings["socket"], held=len(self.held)
        )
        self.daemon.due = time.monotonic()
        going = True
        while going:
            try:
                going = self._turn()
            except Exception as error:
                # Whatever is wrong, everybody's data goes with us: stay, but don't spin.
                where = error.__traceback__
                lines = []
                while where is not None:
                    lines.append(where.tb_lineno)
                    where = where.tb_next
                self.log.error("internal_error", f"{type(error).__name__}: {error}", lines=lines)
                time.sleep(ERROR_SECONDS)
        self._end()
        return self.status

    def _turn(self) -> bool:
        """Do what is due and what comes next; False: all is over."""
        now = time.monotonic()
        for child in (self.daemon, self.admin):
            if child.due is not None and child.due <= now and self.stop_by is None:
                self._start(child)
        if self.stop_by is not None:
            over = self.daemon.pid is None and self.admin.pid is None
            if over or self.kills >= KILLS_MAX:
                return False
            if now >= self.stop_by:
                self._kill_all()
        for fd, _ in self.poll.poll(self._patience(now)):
            if fd == self.wake.fileno():
                self._signals()
            elif self.channel is not None and fd == self.channel.fileno():
                self._serve(self.channel)
        return True

    def _patience(self, now: float) -> int | None:
        """Milliseconds until something is due; None: nothing is."""
        times = [self.stop_by]
        if self.stop_by is None:
            times = [self.daemon.due, self.admin.due]
        soonest = min((due for due in times if due is not None), default=None)
        # One more than enough, or the loop would turn for nothing before its time.
        return None if soonest is None else max(0, int((soonest - now) * 1000) + 1)

    def _signals(self) -> None:
        try:
            numbers = self.wake.recv(4096)
        except BlockingIOError:
            return
        for number in set(numbers):
            if number in STOP_SIGNALS:
                self._stop(number)
        for child in (self.daemon, self.admin):
            self._reap(child)

    def _stop(self, number: int) -> None:
        if self.stop_by is not None:
            # Asked again: no more patience.
            self._kill_all()
            return
        name = signal.Signals(number).name
        self.log.info("stopping", signal=name)
        self.status = 130 if number == signal.SIGINT else 0
        self._begin_stop()

    def _begin_stop(self) -> None:
        self.notifier.stopping()
        self.stop_by = time.monotonic() + float(str(self.settings["stop_seconds"]))
        for child in (self.admin, self.daemon):
            child.kill(signal.SIGTERM)

    def _kill_all(self) -> None:
        self.kills += 1
        self.stop_by = time.monotonic() + 1.0
        for child in (self.admin, self.daemon):
            if child.pid is not None:
                self.log.warning("killed", "it did not stop in time", child=child.name)
                child.kill(signal.SIGKILL)

    def _end(self) -> None:
        if self.claim is not None:
            self.claim.release()
        self.log.info("stopped", status=self.status)

    # --- children ---

    def _start(self, child: Child) -> None:
        child.due = None
        child.started = time.monotonic()
        try:
            if child is self.daemon:
                self._start_daemon()
            else:
                child.pid = spawn(child.module, self.environment, None)
        except OSError as error:
            # No memory, no process or no descriptor left: for now.
            self.log.error("cannot_start", str(error), child=child.name)
            child.ended(child.started, FIRST_DELAY)
        else:
            self.log.info("started", child=child.name, pid=child.pid, held=len(self.held))

    def _start_daemon(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            environment = {**self.environment, CHANNEL_VARIABLE: str(number)}
            try:
                self.daemon.pid = spawn(self.daemon.module, environment, number)
            except OSError:
                ours.close()
                raise
        self.channel = ours
        self.poll.register(ours, select.POLLIN)

    def _reap(self, child: Child) -> None:
        if child.pid is None:
            return
        pid, status = os.waitpid(child.pid, os.WNOHANG)
        if pid == 0:
            return
        # From here on the number may be another process's.
        child.pid = None
        code = os.waitstatus_to_exitcode(status)
        if child is self.daemon:
            self._close_channel()
        child.ended(time.monotonic())
        if self.stop_by is not None:
            self.log.debug("ended", child=child.name, pid=pid, status=code)
            return
        gave_up = child is self.daemon and not self.was_ready and code >= 0
        if gave_up:
            self.log.error("gave_up", "the daemon ended before it was ready", pid=pid, status=code)
            self.status = max(code, 1)
            child.due = None
            self._begin_stop()
            return
        delay = round(max((child.due or 0) - time.monotonic(), 0.0), 1)
        self.log.warning("died", child=child.name, pid=pid, status=code, restart_in=delay)

    # --- the channel ---

    def _close_channel(self) -> None:
        """Take in what the daemon said before it died, then close."""
        channel = self.channel
        if channel is None:
            return
        channel.settimeout(0)
        while self.channel is not None and self._serve(channel):
            pass
        if self.channel is not None:
            self.poll.unregister(channel)
            channel.close()
            self.channel = None

    def _serve(self, channel: socket.socket) -> bool:
        """Do what one message asks; False if there is none."""
        try:
            message, fds, whole = holdings.receive(channel)
        except (BlockingIOError, InterruptedError):
            return False
        except ConnectionResetError:
            message, fds, whole = b"", [], True
        if not message:
            # Its death comes as a signal; a daemon that lives without its channel must not.
            self.poll.unregister(channel)
            channel.close()
            self.channel = None
            self.daemon.kill(signal.SIGKILL)
            return False
        kind, text = message[:1], message[1:].decode("ascii", "replace")
        answer: tuple[bytes, list[int]] | None = None
        if kind == b"H":
            answer = self._hold(text, fds, whole=whole), []
            fds = []
        elif kind == b"D":
            self._drop(text)
        elif kind == b"G" and text.isdecimal():
            answer = self._offer(int(text))
        elif kind == b"R":
            self._ready()
        elif kind == b"P":
            self.notifier.alive()
        for fd in fds:
            os.close(fd)
        if answer is not None:
            # If it has died, a signal says so.
            with contextlib.suppress(OSError):
                holdings.send(channel, *answer)
        return True

    def _hold(self, key: str, fds: list[int], *, whole: bool) -> bytes:
        # The kernel gives the lowest free number: a high one says that few are left.
        full = not whole or any(fd >= self.fds_max for fd in fds)
        if full or len(fds) != 1 or not holdings.is_key(key):
            for fd in fds:
                os.close(fd)
            if full:
                self.log.warning("no_descriptor_left", limit=self.limit, held=len(self.held))
                told = "no descriptor left in the keeper: its limit is {} open files (ulimit -n)"
                return b"E" + told.format(self.limit).encode()
            return b"Enot a key and one descriptor"
        before = self.held.pop(key, None)
        self.held[key] = fds[0]
        self.notifier.store(key, fds[0])
        if before is not None:
            os.close(before)
        return b"A"

    def _drop(self, key: str) -> None:
        fd = self.held.pop(key, None)
        if fd is not None:
            self.notifier.forget(key)
            os.close(fd)

    def _offer(self, first: int) -> tuple[bytes, list[int]]:
        if first == 0:
            self.offered = [(holdings.LISTENER_KEY, self.listener.fileno()), *self.held.items()]
        batch = self.offered[first : first + holdings.BATCH]
        if not batch:
            self.offered = []
            return b"Z", []
        return b"K" + "\n".join(key for key, _ in batch).encode(), [fd for _, fd in batch]

    def _ready(self) -> None:
        again, self.was_ready = self.was_ready, True
        place = self.settings["socket"]
        fields = {"again": True} if again else {}
        self.log.info("ready", "serving", socket=place, daemon=self.daemon.pid, **fields)
        self.notifier.ready(f"serving {place}")
        if self.settings["http"] and self.admin.pid is None and self.admin.due is None:
            self.admin.due = time.monotonic()


def raise_limit() -> None:
    """Let this process and its children have as many descriptors as they may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def keep() -> int:
    """Be the keeper, with the settings that the environment carries."""
    environment = dict(os.environ)
    settings = json.loads(environment[SETTINGS_VARIABLE])
    log = logs.Log("keeper", settings["log_format"], settings["log_level"])
    raise_limit()
    try:
        keeper = Keeper(settings, environment, log)
    except listening.CannotListenError as error:
        logs.complain(str(error))
        return 1
    return keeper.run()


def become(settings: str) -> None:
    """Exec this process as the keeper alone, without the package around it; it does not return."""
    os.environ[SETTINGS_VARIABLE] = settings
    bootstrap = os.path.join(os.path.dirname(__file__), "bootstrap.py")  # noqa: PTH118, PTH120
    # -S and -P: nothing but the standard library, and nothing from the folder of the file.
    command = [sys.executable, "-P", "-S", bootstrap, "icehouse.server.keeper"]
    os.execv(sys.executable, command)  # noqa: S606


def main() -> int:
    """Read the configuration and become the keeper; or be it, if that has been done."""
    if SETTINGS_VARIABLE in os.environ and sys.argv[1:] == [__name__]:
        return keep()
    from icehouse.server import config

    try:
        chosen = config.from_arguments(sys.argv[1:])
        chosen.check_place()
    except config.ConfigError as error:
        logs.complain(str(error))
        return 2
    become(chosen.to_json())
    return 1


if __name__ == "__main__":
    sys.exit(main())
