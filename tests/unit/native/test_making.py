"""What one access makes, counted and kept together: in one interpreter, not in one thread."""

import subprocess
import sys

# A thaw function that has another interpreter open a tuple whose parts are made once, in the middle
# of such a tuple of its own.
NESTED = '''
import sys
import icehouse

CODE = """
import fractions, icehouse
parts = [fractions.Fraction(i, 7) for i in range(1, 41)]
opened = icehouse.freeze({"parts": tuple(parts + parts)})["parts"]
assert list(opened) == parts + parts
assert all(opened[i] is opened[i + 40] for i in range(40))
"""

def elsewhere():
    if sys.version_info >= (3, 14):
        from concurrent import interpreters
        other = interpreters.create()
        other.exec(CODE)
        other.close()
    elif sys.version_info >= (3, 13):
        import _interpreters
        other = _interpreters.create("isolated")
        failure = _interpreters.exec(other, CODE)
        assert failure is None, failure
        _interpreters.destroy(other)
    else:
        import _xxsubinterpreters as _interpreters
        other = _interpreters.create(isolated=True)
        _interpreters.run_string(other, CODE)
        _interpreters.destroy(other)

class Part:
    def __init__(self, number):
        self.number = number

def thaw(number):
    if number == 0:
        elsewhere()
    return Part(number)

icehouse.register_freezable(Part, freeze=lambda part: part.number, thaw=thaw)
parts = [Part(i) for i in range(40)]
opened = icehouse.freeze({"parts": tuple(parts + parts)})["parts"]
assert [part.number for part in opened] == [*range(40)] * 2
assert all(opened[i] is opened[i + 40] for i in range(40))
'''


def test_what_two_interpreters_make_in_one_thread_stays_apart() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NESTED], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
