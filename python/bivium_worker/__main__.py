"""The entry point: the host runs this file. (For `python DIR`, Python would import more before it begins.)

It uses syntax that any Python can parse, so that a version that is too old can say so.
"""

import os
import sys

if __name__ == "__main__":
    if sys.version_info < (3, 9):
        os.write(
            0,
            (
                '{"event": "failed", "error": {"code": "unavailable", "message": "this Python is %d.%d, '
                'and a worker needs 3.9 or newer: set python_path to a newer Python"}}\n' % sys.version_info[:2]
            ).encode("ascii"),
        )
        sys.exit(1)

    # Python has put the package's own directory on the module path (unless PYTHONSAFEPATH is set), where `settings` or `codec`
    # would hide modules of the plugin with the same names. The directory above is needed for one import; then the package finds
    # its own modules.
    here = os.path.dirname(os.path.abspath(__file__))
    if os.path.abspath(sys.path[0]) == here:
        del sys.path[0]
    sys.path.insert(0, os.path.dirname(here))
    from bivium_worker.start import main

    del sys.path[0]
    main()
