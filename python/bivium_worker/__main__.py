"""Where `python DIR` begins. Small, and readable by any Python, so that a too old one can say so."""

import os
import sys

if __name__ == "__main__":
    if sys.version_info < (3, 9):
        os.write(
            0,
            (
                '{"event": "failed", "error": {"code": "unavailable", "message": "this Python is %d.%d, '
                'and a worker needs 3.9 or newer: name another one in python_path"}}\n' % sys.version_info[:2]
            ).encode("ascii"),
        )
        sys.exit(1)

    # `python DIR` put the package's inside on the module path, where `settings` or `codec` would hide the plugin's
    # own modules of that name. The folder above serves for one import; after it the package finds its own parts.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    from bivium_worker.start import main

    del sys.path[0]
    main()
