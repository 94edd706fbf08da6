"""Ties a process to the one that started it: `python leash.py PARENT_PID SIGNAL PROGRAM ARGUMENT...`.

Asks the kernel to send SIGNAL when the parent dies, whatever killed it, and becomes PROGRAM. Runs as the innermost of
wrappers such as unshare and setpriv, because a change of credentials clears the request (prctl(2), PR_SET_PDEATHSIG).
A file that runs alone, by path: it must start in milliseconds, and code between fork and exec is not safe in a parent
that has threads.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, number, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it died before the request was in force
        sys.exit("the supervisor is gone")
    os.execv(program[0], program)  # noqa: S606


if __name__ == "__main__":
    main()
