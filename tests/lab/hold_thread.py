#!/usr/bin/env python3
"""Holds one thread of a process still (ptrace) until standard input ends: what a thread that hangs looks like from outside.

usage: hold_thread.py TID       says `held` once the thread stands still
"""
import ctypes
import os
import select
import sys

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
thread = int(sys.argv[1])


def ptrace(request):
    if libc.ptrace(request, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), f"ptrace request {request:#x}")


ptrace(PTRACE_SEIZE)
ptrace(PTRACE_INTERRUPT)
os.waitpid(thread, WALL)
print("held", flush=True)
# Should the process end meanwhile, its thread is ours to bury.
while not select.select([sys.stdin], [], [], 0.1)[0]:
    if os.waitpid(thread, WALL | os.WNOHANG)[0] == thread:
        sys.exit()
ptrace(PTRACE_DETACH)
