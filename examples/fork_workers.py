"""Forked workers read one large table in place; each answers from its own process.

    python examples/fork_workers.py

What is put before the fork is there for every child, and none of them copies it.
"""

import multiprocessing

import icehouse

ROWS = 200_000
WORKERS = 3


def total(handle: str, city: int) -> float:
    # A handle is 16 bytes, or its text: that is all that travels to the worker.
    table = icehouse.get(handle)
    return sum(row["amount"] for row in table[city::WORKERS])


def main() -> None:
    rows = [{"id": i, "city": i % WORKERS, "amount": i % 100 * 0.25} for i in range(ROWS)]
    with icehouse.Store() as store:
        handle = str(store.put(rows))
        fork = multiprocessing.get_context("fork")
        with fork.Pool(WORKERS) as pool:
            asked = [(handle, city) for city in range(WORKERS)]
            for city, amount in enumerate(pool.starmap(total, asked)):
                print(f"city {city}: {amount:.2f}")


if __name__ == "__main__":
    main()
