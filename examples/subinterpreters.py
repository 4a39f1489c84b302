"""Four subinterpreters count words in one shared list, each a quarter of it, in parallel.

    python examples/subinterpreters.py

From Python 3.12 each has a GIL of its own; on 3.11 they take turns.
"""

from concurrent.futures import ThreadPoolExecutor

import icehouse
from icehouse import interpreters

LINES = [f"page {i} of the {('red', 'green', 'blue')[i % 3]} book" for i in range(100_000)]
WORKERS = 4

# Runs in the other interpreter, which sees nothing of this one but the store.
WORK = """
from collections import Counter
import icehouse

store = icehouse.Store.attach({token!r})
share = store.get("lines")[{number}::{count}]
words = Counter(word for line in share for word in line.split())
store.put(dict(words), name="words/{number}")
"""


def work(number: int, token: str) -> None:
    with interpreters.Interpreter() as other:
        other.run(WORK.format(token=token, number=number, count=WORKERS))


def main() -> None:
    with icehouse.Store() as store:
        store.put(LINES, name="lines")
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(work, range(WORKERS), [store.token] * WORKERS))
        results = [store.get(name) for name in store.names("words/")]
        for word in ("red", "green", "blue"):
            print(f"{word}: {sum(result[word] for result in results)}")


if __name__ == "__main__":
    main()
