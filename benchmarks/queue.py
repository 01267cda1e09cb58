"""What the hop through Redis and a separate worker costs, and how much it carries.

The measurement is in hop.py. Python looks for its own `queue` in the folder of the script first,
whichever script of this folder that is; imported, this file steps aside.
"""

import importlib.machinery
import importlib.util
import sys
import sysconfig


def _step_aside() -> None:
    """Give the name to the module of the standard library."""
    path = [sysconfig.get_path("stdlib")]
    spec = importlib.machinery.PathFinder.find_spec(__name__, path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[__name__] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


if __name__ == "__main__":
    from hop import main

    main()
else:
    _step_aside()
