"""Counts the Python functions that a running process calls, by name: python_functions.py PID. Needs its DWARF.

Since Python 3.11 a call counts when its frame is cleared at its end; with link-time optimisation (Debian's packages)
calls from C are missing.
"""

import sys

import multiprobe as mp

pid = int(sys.argv[1])
try:
    python = mp.Binary.of(pid, "libpython3*")
except mp.NoMatchError:  # it is not a library here, but in the program
    python = mp.Binary.of(pid)
functions, argument, name = python.functions("_PyFrame_ClearExceptCode", "_PyFrame_Clear"), 0, "_PyInterpreterFrame"
if not functions.n_attachable():  # before 3.11
    functions, argument, name = python.functions("_PyEval_EvalFrameDefault"), 1, "_frame"
frame, code = (mp.struct(one, binary=python) for one in (name, "PyCodeObject"))
in_frame, in_code = ({member.name for member in one.members} for one in (frame, code))
code_at = frame.offset("f_executable" if "f_executable" in in_frame else "f_code")
name_at = code.offset("co_qualname" if "co_qualname" in in_code else "co_name")
text_at = mp.struct("PyASCIIObject", binary=python).size
calls = mp.Hash(mp.string(64), mp.u64, 10_000)


@mp.program(sleepable=True)
def count(ctx: mp.Context) -> None:
    executed = mp.user(mp.cast("u64 *", ctx.arg(argument) + code_at))[0]
    called = mp.user(mp.cast("u64 *", executed + name_at))[0]
    calls[mp.user_string(called + text_at)] += 1


with mp.attach(count, functions, pid=pid) as attachment:
    input("counting: Enter ends it\n")
    for called, n in sorted(attachment.map(calls).as_dict().items(), key=lambda item: -item[1])[:20]:
        print(f"{n:8,}  {called}")
