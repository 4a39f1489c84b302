"""What does not freeze, why, and what to do instead."""

_LOCK = (
    "a lock, and what threads wait for, belongs to the threads of one process: leave it out, "
    "and make one where it is needed"
)
_FILE = (
    "an open file is a position and a descriptor of this process: freeze its content or its name, "
    "and open it where it is used"
)
_BUFFER = "a file in memory is a position in bytes that change: freeze its getvalue()"
_SOCKET = "a connection belongs to this process: freeze the address, and connect where it is used"
_DATABASE = (
    "a database connection belongs to this process: freeze the rows, or the path of the database, "
    "and connect where it is used"
)
_ITERATOR = "an iterator is used up by reading it: freeze a list of what it gives"
_RUNNING = "{} is code that is half-way through: freeze its result, or a list of what it yields"
_TASK = "a future or task belongs to a loop or executor of this process: freeze its result"
_LOOP = "an event loop, executor or selector belongs to this process"
_WEAK = (
    "a weak reference says nothing of how long its target lives, which nobody else could keep: "
    "freeze the object itself, x()"
)
_WEAK_CONTAINER = "its items are held weakly, which nobody else could keep: freeze {}(x)"
_MODULE = (
    "a module is code and state of this process: freeze icehouse.ImmutableModule(module), which "
    "holds it by its name"
)
# In data: a function that is an argument of freeze() freezes as a declaration.
FUNCTION = (
    "a function inside of data does not freeze with it: freeze it first, and put what freeze() "
    "returned in its place, or decorate it with @icehouse.frozen"
)
LIBRARY_FUNCTION = (
    "a function of a library does not freeze inside of data: freeze a function of yours that calls "
    "it, which holds it by name, or store its name"
)
METHOD = (
    "a method is code with its object: freeze the object, and take the method where it is used, "
    "or freeze the method of what freeze() returned, freeze(x.method)"
)
_NATIVE = (
    "code of C has no meaning elsewhere: freeze the name of what it does, and import it where it "
    "is used"
)
_CACHED = (
    "its cache is state of one process: freeze the function below it, f.__wrapped__, or keep the "
    "cache in an InterpreterLocal"
)
_CODE = (
    "code and frames belong to this interpreter: freeze text, such as traceback.format_exception()"
)
_DESCRIPTOR = "this is part of a class, not data: freeze the class, which goes by its name"
_THREAD = "a thread or process can't be frozen: freeze what it works on, or its result"
_LOCAL = "what it holds is another for each thread or context: freeze the value that you mean"
_MAP = "a memory map is memory of a file: freeze bytes(m), or the name of the file"
_DIGEST = "a running hash can't be copied out: freeze its digest()"
_QUEUE = "a queue belongs to the threads of one process: freeze a list of its items"
_SUBCLASS = "a kind of {} that no other process could make again"
_CTYPES = "memory of C has no meaning elsewhere: freeze bytes(x), or the values that it holds"

REASONS: dict[str, str] = {
    **dict.fromkeys(
        (
            *("_thread.lock", "_thread.RLock", "_thread.LockType", "threading._RLock"),
            *("threading.Condition", "threading.Event", "threading.Semaphore"),
            *("threading.Barrier", "multiprocessing.synchronize.SemLock"),
            *("multiprocessing.synchronize.Condition", "multiprocessing.synchronize.Event"),
            *("_multiprocessing.SemLock", "asyncio.locks.Lock", "asyncio.locks.Event"),
            *("asyncio.locks.Condition", "asyncio.locks.Semaphore", "asyncio.locks.Barrier"),
        ),
        _LOCK,
    ),
    "_io.BytesIO": _BUFFER,
    "_io.StringIO": _BUFFER,
    **dict.fromkeys(
        (
            *("_io._IOBase", "tempfile._TemporaryFileWrapper", "tempfile.TemporaryDirectory"),
            *("zipfile.ZipFile", "tarfile.TarFile", "posix.ScandirIterator"),
        ),
        _FILE,
    ),
    "posix.DirEntry": "it asks the system as it is read: freeze its path and its stat()",
    **dict.fromkeys(
        (
            *("_socket.socket", "ssl.SSLObject", "_ssl._SSLContext", "_ssl._SSLSocket"),
            *(
                "socketserver.BaseServer",
                "http.client.HTTPConnection",
                "asyncio.streams.StreamReader",
            ),
            *("asyncio.streams.StreamWriter", "asyncio.transports.BaseTransport"),
            *("multiprocessing.connection._ConnectionBase", "smtplib.SMTP", "ftplib.FTP"),
        ),
        _SOCKET,
    ),
    "sqlite3.Connection": _DATABASE,
    "sqlite3.Cursor": _DATABASE,
    "sqlite3.Blob": _DATABASE,
    "sqlite3.Row": "a row refers to its query: freeze dict(row) or tuple(row)",
    **dict.fromkeys(("dbm.gnu.gdbm", "_gdbm.gdbm", "_dbm.dbm", "shelve.Shelf"), _DATABASE),
    "builtins.generator": _RUNNING.format("a generator"),
    "builtins.coroutine": _RUNNING.format("a coroutine"),
    "builtins.async_generator": _RUNNING.format("an asynchronous generator"),
    **dict.fromkeys(
        ("_asyncio.Future", "asyncio.futures.Future", "concurrent.futures._base.Future"), _TASK
    ),
    **dict.fromkeys(
        (
            *("asyncio.events.AbstractEventLoop", "concurrent.futures._base.Executor"),
            *("selectors.BaseSelector", "select.epoll", "select.poll", "asyncio.runners.Runner"),
            *("multiprocessing.pool.Pool", "multiprocessing.managers.BaseManager"),
        ),
        _LOOP + ": make one where it is used",
    ),
    **dict.fromkeys(
        ("weakref.ReferenceType", "weakref.ProxyType", "weakref.CallableProxyType"), _WEAK
    ),
    "weakref.WeakValueDictionary": _WEAK_CONTAINER.format("dict"),
    "weakref.WeakKeyDictionary": _WEAK_CONTAINER.format("dict"),
    "_weakrefset.WeakSet": _WEAK_CONTAINER.format("set"),
    "weakref.finalize": "a finalizer is a promise of this process to call something",
    "builtins.module": _MODULE,
    "builtins.method-wrapper": METHOD,
    "functools._lru_cache_wrapper": _CACHED,
    **dict.fromkeys(("builtins.code", "builtins.frame", "builtins.traceback"), _CODE),
    "builtins.cell": "a cell is a variable of a function: freeze what it holds",
    **dict.fromkeys(
        (
            *("builtins.property", "builtins.staticmethod", "builtins.classmethod"),
            *("builtins.super", "builtins.getset_descriptor", "builtins.member_descriptor"),
            "functools.cached_property",
        ),
        _DESCRIPTOR,
    ),
    **dict.fromkeys(
        (
            *("threading.Thread", "_thread._ThreadHandle", "subprocess.Popen"),
            *("multiprocessing.process.BaseProcess", "asyncio.subprocess.Process"),
        ),
        _THREAD,
    ),
    **dict.fromkeys(
        ("_thread._local", "_threading_local.local", "_contextvars.ContextVar"), _LOCAL
    ),
    "_contextvars.Context": _LOCAL + ", or dict(context)",
    "_contextvars.Token": _LOCAL,
    "mmap.mmap": _MAP,
    "multiprocessing.shared_memory.SharedMemory": (
        "shared memory has its own lifetime: freeze bytes(x.buf), or its name"
    ),
    **dict.fromkeys(
        (
            *("_hashlib.HASH", "_hashlib.HASHXOF", "_hashlib.HMAC", "hmac.HMAC", "_blake2.blake2b"),
            *("_blake2.blake2s", "_md5.md5", "_sha1.sha1", "_sha2.SHA224Type", "_sha2.SHA256Type"),
            *("_sha2.SHA384Type", "_sha2.SHA512Type", "_sha3.sha3_256", "_sha3.sha3_512"),
        ),
        _DIGEST,
    ),
    **dict.fromkeys(
        (
            *("queue.Queue", "_queue.SimpleQueue", "multiprocessing.queues.Queue"),
            *("multiprocessing.queues.SimpleQueue", "asyncio.queues.Queue"),
        ),
        _QUEUE,
    ),
    "re.Match": "a match refers to the text that was searched: freeze its groups() or groupdict()",
    "re.Scanner": "freeze the pattern",
    "_struct.Struct": "freeze its format, and make a Struct where it is used",
    "_csv.reader": _ITERATOR,
    "_csv.writer": _FILE,
    "logging.Handler": (
        "a handler writes to what this process has open: configure logging where it runs"
    ),
    "ctypes._CFuncPtr": _NATIVE,
    "_ctypes.CFuncPtr": _NATIVE,
    "_ctypes._SimpleCData": "freeze its value",
    "_ctypes._Pointer": "an address has no meaning elsewhere: freeze what it points to",
    "_ctypes._CData": _CTYPES,
    "_ctypes.Structure": _CTYPES,
    "_ctypes.Array": _CTYPES,
    "builtins.dict_keys": "it looks into a dict that changes: freeze list(x) or set(x)",
    "builtins.dict_items": "it looks into a dict that changes: freeze list(x) or dict(x)",
    "builtins.dict_values": "it looks into a dict that changes: freeze list(x)",
    "odict.odict_keys": "it looks into a dict that changes: freeze list(x)",
    "builtins.PyCapsule": "a capsule is an address of C, which has no meaning elsewhere",
}


def rule(cls: type, base: type) -> str:
    """Say why objects of a type, and of subclasses of it, don't freeze."""
    reason = REASONS[f"{base.__module__}.{base.__qualname__}"]
    return reason if cls is base else f"a subclass of {base.__qualname__}: {reason}"
