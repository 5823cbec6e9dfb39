"""Trampolines as three kernels made them: bytes read from guests, with the names of what they call."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recorded:
    """The image of `bpf_fentry_test1`'s trampoline; `resume` is where that function goes on behind its call site."""

    address: int
    resume: int
    code: bytes
    names: dict[int, str]


RETURN_6_1 = Recorded(
    address=0xFFFFFFFFC065B000,
    resume=0xFFFFFFFFAAC1E425,
    code=bytes.fromhex(
        "554889e54883ec2853b801000000488945e848897df048bf006082425c6e2cffe84b24fde9488b7df0e8f7335cea4889"
        "45f80f1f44000048bfefcdab907856341248897dd848bf00500900679555ff488d75d8e8e81bfde94889c34885c07409"
        "488d7df0e8fb25d7ff48bf00500900679555ff4889de488d55d8e8e11dfde948bf006082425c6e2cffe81224fde9488b"
        "45f85bc94883c408c3cc0000000000000000"
    ),
    names={
        0xFFFFFFFFAA62D470: "__bpf_tramp_enter",
        0xFFFFFFFFAA62CC40: "__bpf_prog_enter_recur",
        0xFFFFFFFFC03CD664: "bpf_prog_a04f5eef06a7f555_single_return",
        0xFFFFFFFFAA62CE60: "__bpf_prog_exit_recur",
        0xFFFFFFFFAA62D4A0: "__bpf_tramp_exit",
    },
)
RETURN_6_12 = Recorded(
    address=0xFFFFFFFFC02A7680,
    resume=0xFFFFFFFF9FCB5309,
    code=bytes.fromhex(
        "554889e54883ec3048895de0b801000000488945e848897df048bf007c7cc28a1142ffe8c8d122df488b7df0e858dca0"
        "df488945f80f1f44000048bfefcdab907856341248897dd048bf005009c08c0560ff488d75d0e845c822df4889c34885"
        "c07409488d7df0e860ffffff48bf005009c08c0560ff4889de488d55d0e8beca22df48bf007c7cc28a1142ffe8afd122"
        "df488b45f8488b5de0c94883c408c3cc0000000000000000"
    ),
    names={
        0xFFFFFFFF9F4D4870: "__bpf_tramp_enter",
        0xFFFFFFFF9F4D3F20: "__bpf_prog_enter_recur",
        0xFFFFFFFFC02A764C: "bpf_prog_a04f5eef06a7f555_single_return",
        0xFFFFFFFF9F4D41C0: "__bpf_prog_exit_recur",
        0xFFFFFFFF9F4D48C0: "__bpf_tramp_exit",
    },
)
MIXED_7_3 = Recorded(
    address=0xFFFFFFFFC0200D80,
    resume=0xFFFFFFFF99739D19,
    code=bytes.fromhex(
        "554889e54883ec3048895de0b801000000488945e848897df048bf00780ac3f19433ffe8e8f8bed831c0488945f80f1f"
        "440000bf4d00000048897dd048bf00d00ac00ab459ff488d75d0e891eebed84889c34885c07409488d7df0e870ffffff"
        "48bf00d00ac00ab459ff4889de488d55d0e8daf0bed80f1f440000bf0100008048897dd048bf00500ac00ab459ff488d"
        "75d0e849eebed84889c34885c07409488d7df0e8b8fbffff48bf00500ac00ab459ff4889de488d55d0e892f0bed80f1f"
        "440000bf0500000048897dd048bf00d009c00ab459ff488d75d0e801eebed84889c34885c07409488d7df0e828f9ffff"
        "48bf00d009c00ab459ff4889de488d55d0e84af0bed8488b7df0e88a8e53d9488945f848b80100000000000080488945"
        "e80f1f440000bf4d00000048897dd048bf00d00ac00ab459ff488d75d0e89eedbed84889c34885c07409488d7df0e87d"
        "feffff48bf00d00ac00ab459ff4889de488d55d0e8e7efbed80f1f44000048bfefcdab907856341248897dd048bf0050"
        "09c00ab459ff488d75d0e851edbed84889c34885c07409488d7df0e840f7ffff48bf005009c00ab459ff4889de488d55"
        "d0e89aefbed848bf00780ac3f19433ffe89bf7bed8488b45f8488b5de0c9c3cc0000000000000000"
    ),
    names={
        0xFFFFFFFF98DF0690: "__bpf_tramp_enter",
        0xFFFFFFFF98DEFC60: "__bpf_prog_enter_recur",
        0xFFFFFFFFC0200D50: "bpf_prog_59f4a931744dcdc6_multi_session",
        0xFFFFFFFF98DEFED0: "__bpf_prog_exit_recur",
        0xFFFFFFFFC02009E0: "bpf_prog_59f4a931744dcdc6_multi_entry",
        0xFFFFFFFFC0200798: "bpf_prog_59f4a931744dcdc6_multi_entry",
        0xFFFFFFFFC0200660: "bpf_prog_59f4a931744dcdc6_single_return",
        0xFFFFFFFF98DF06E0: "__bpf_tramp_exit",
    },
)
