"""Say what the Python that runs this file can do, one `word value` per line.

Started with every interpreter that might be there, so it must parse on old ones too.
"""

import os
import sys
import sysconfig


def importable(name):  # type: (str) -> bool
    """Can `import name` succeed here?"""
    try:
        __import__(name)
    except ImportError:
        return False
    return True


def main():  # type: () -> None
    """Print the facts `setup.sh` and `interpreters.py` decide by."""
    header = os.path.join(sysconfig.get_path("include") or "", "Python.h")
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    cpython = sys.version.find("PyPy") < 0
    facts = [
        ("version", "%d.%d.%d" % sys.version_info[:3]),
        ("minor", "%d.%d" % sys.version_info[:2]),
        ("executable", sys.executable),
        ("kind", "cpython" if cpython and not free_threaded else "other"),
        ("headers", "yes" if os.path.isfile(header) else "no"),
        ("venv", "yes" if importable("venv") else "no"),
        ("ensurepip", "yes" if importable("ensurepip") else "no"),
        ("ssl", "yes" if importable("ssl") else "no"),
    ]
    for word, value in facts:
        print("%s %s" % (word, value))


if __name__ == "__main__":
    main()
