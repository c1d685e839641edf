# SPDX-License-Identifier: Apache-2.0
"""System calls made in the name of another process: what the kernel tells only to itself."""
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

# sys/ptrace.h
SINGLESTEP, GETREGS, SETREGS, DETACH, SEIZE, INTERRUPT = 9, 12, 13, 17, 0x4206, 0x4207
SUSPEND_SECCOMP = 1 << 21
WALL = 0x40000000
# sys/user.h: numbers of 64-bit words in struct user_regs_struct
RAX, ORIG_RAX, RIP = 10, 15, 16
ARGUMENTS = (14, 13, 12, 7, 9, 8)
SYSCALL = b"\x0f\x05"


def ptrace(request, pid, data=0):
    if libc.ptrace(request, pid, 0, data) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace {request:#x}, process {pid}")


def stopped(pid):
    _, status = os.waitpid(pid, WALL)
    assert os.WIFSTOPPED(status), f"process {pid} ended instead: {status:#x}"


def call_in(pid, number, *arguments):
    """What system call `number` returns in process pid, which waits in one; its own filter does not
    apply to it, and the process goes on as if nothing had been."""
    ptrace(SEIZE, pid, SUSPEND_SECCOMP)
    try:
        ptrace(INTERRUPT, pid)
        stopped(pid)
        registers = (ctypes.c_ulong * 27)()
        at = ctypes.addressof(registers)
        ptrace(GETREGS, pid, at)
        before = bytes(registers)
        registers[RIP] -= len(SYSCALL)
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            memory.seek(registers[RIP])
            assert memory.read(len(SYSCALL)) == SYSCALL, f"process {pid} is not in a system call"
        registers[RAX], registers[ORIG_RAX] = number, 2**64 - 1
        for register, value in zip(ARGUMENTS, arguments):
            registers[register] = value % 2**64
        ptrace(SETREGS, pid, at)
        ptrace(SINGLESTEP, pid)
        stopped(pid)
        ptrace(GETREGS, pid, at)
        result = ctypes.c_long(registers[RAX]).value
        ctypes.memmove(registers, before, len(before))
        ptrace(SETREGS, pid, at)
        return result
    finally:
        ptrace(DETACH, pid)
