"""A configuration that everybody reads and nobody can change, replaced as a whole.

python examples/config_store.py
"""

import icehouse


def main() -> None:
    with icehouse.Store() as store:
        store.put({"level": "info", "hosts": ["a", "b"], "limits": {"jobs": 8}}, name="config")

        config = store.get("config")
        print("jobs:", config["limits"]["jobs"])
        try:
            config["limits"]["jobs"] = 9
        except icehouse.FrozenError as refused:
            print("refused:", refused)

        # A new configuration is a changed copy, bound to the name in one step. Who loses the
        # race to another writer is told, since the version is not what it was.
        version = store.version("config")
        changed = icehouse.thaw(config)
        changed["limits"]["jobs"] = 16
        store.bind("config", store.put(changed), expected=version)

        print("old view:", config["limits"]["jobs"])
        print("new view:", store.get("config")["limits"]["jobs"])


if __name__ == "__main__":
    main()
