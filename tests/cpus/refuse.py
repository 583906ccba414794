"""Runs a command in a world where the kernel refuses some system calls, as old kernels and containers do.

    refuse.py CALL[:ERROR]... -- COMMAND...

CALL is a key of CALLS; ERROR is EPERM unless given. The command inherits a seccomp filter.
"""

import ctypes
import errno
import os
import struct
import sys

# The number on each machine, and the argument (its place and value) that is meant, if not all calls are.
CALLS = {
    "huge_pages": ({"x86_64": 28, "aarch64": 233}, (2, 14)),  # madvise(_, _, MADV_HUGEPAGE)
    "sched_getaffinity": ({"x86_64": 204, "aarch64": 123}, None),
    "sched_setaffinity": ({"x86_64": 203, "aarch64": 122}, None),
    "set_mempolicy": ({"x86_64": 238, "aarch64": 237}, None),
}

LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, FAIL_WITH = 0x7FFF0000, 0x00050000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2


def instruction(code, k, if_true=0, if_false=0):
    return struct.pack("HBBI", code, if_true, if_false, k)


def refusal(call, error):
    """Instructions that end the filter with `error` for that call, and go on for others."""
    numbers, argument = CALLS[call]
    fail = instruction(RETURN, FAIL_WITH | error)
    if argument is None:
        body = fail
    else:
        place, value = argument
        body = instruction(LOAD, 16 + 8 * place) + instruction(JUMP_IF_EQUAL, value, 0, 1) + fail
    skip = len(body) // 8
    return instruction(LOAD, 0) + instruction(JUMP_IF_EQUAL, numbers[os.uname().machine], 0, skip) + body


def main():
    split = sys.argv.index("--")
    asked = [call.partition(":") for call in sys.argv[1:split]]
    program = b"".join(refusal(call, getattr(errno, error or "EPERM")) for call, _, error in asked)
    program += instruction(RETURN, ALLOW)
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_void_p] * 4
    for arguments in [(PR_SET_NO_NEW_PRIVS, 1, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header)]:
        option, first, second = arguments
        if libc.prctl(option, first, second, None, None) != 0:
            sys.exit(f"prctl({option}): {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[split + 1], sys.argv[split + 1 :])


main()
