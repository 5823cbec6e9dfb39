"""Finds the start of every record in a BTF file, and extracts fields of all records at once, with NumPy.

Records have different lengths, so the start of one depends on the one before it; `find_records` avoids a sequential
walk.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from multiprobe.errors import DataError
from multiprobe.kernel.btf.format import KIND_NAMES, N_KINDS, RECORD_WORDS, Sections

HOPS = 3  # the walk takes 2 ** HOPS records a step

Words = NDArray[np.uint32]
Ids = NDArray[np.int64]
Flags = NDArray[np.bool_]


def words_of(sections: Sections) -> Words:
    """The type section as 32-bit words."""
    return np.frombuffer(sections.types, dtype="<u4")


def is_kind(kinds: NDArray[np.uint8], wanted: tuple[int, ...]) -> NDArray[np.bool_]:
    """For each kind: is it one of the wanted?"""
    table = np.zeros(N_KINDS, dtype=np.bool_)
    table[list(wanted)] = True
    found: NDArray[np.bool_] = table[kinds]
    return found


def kinds_of(info: Words) -> NDArray[np.uint8]:
    """The kind in each info word. Kernels before 7.1 left two more of these bits unused (0)."""
    return ((info >> np.uint32(24)) & np.uint32(0x7F)).astype(np.uint8)


def lengths_of(info: Words) -> Ids:
    """The number of elements in each info word."""
    return (info & np.uint32(0xFFFFFF)).astype(np.int64)


def find_records(sections: Sections) -> Ids:
    """The word at which each type record starts, in order.

    As if a record started at every word, its end is computed for all words at once. The real ones are found by hopping
    from end to end, eight records a hop: the table of ends applied to itself gives hops of 2, 4 and 8, and the records
    in between are filled in backwards. A record that runs over the end, or of no known kind, ends the walk.
    """
    words = words_of(sections)
    n_words = len(words)
    if not n_words:
        return np.zeros(0, dtype=np.int64)
    over = n_words + 1  # where broken records lead, and stay
    jump = np.full(n_words + 2, over, dtype=np.int32)
    info = words[1:-1]
    if len(info):
        kinds = kinds_of(info)
        fixed, element = _size_tables(sections)
        ends = np.arange(len(info), dtype=np.int64) + RECORD_WORDS + fixed[kinds] + element[kinds] * lengths_of(info)
        ends[(ends > n_words) | (fixed[kinds] < 0)] = over
        jump[: len(info)] = ends
    jump[n_words] = n_words
    tables = [jump]
    for _ in range(HOPS):
        tables.append(tables[-1][tables[-1]])
    starts = _hop(tables.pop(), n_words)
    for table in reversed(tables):
        both = np.empty(2 * len(starts), dtype=np.int32)
        both[0::2] = starts
        both[1::2] = table[starts]
        starts = both
    starts = starts[: int(np.searchsorted(starts, n_words))]
    if int(jump[starts[-1]]) == over:
        raise _broken(sections, int(starts[-1]))
    return starts.astype(np.int64)


def _size_tables(sections: Sections) -> tuple[Ids, Ids]:
    """`record_words` by kind; -1 for kinds that are not known."""
    fixed = np.full(N_KINDS, -1, dtype=np.int64)
    element = np.zeros(N_KINDS, dtype=np.int64)
    for kind, (n_fixed, n_element) in sections.record_words.items():
        fixed[kind], element[kind] = n_fixed, n_element
    return fixed, element


def _hop(table: NDArray[np.int32], n_words: int) -> NDArray[np.int32]:
    at = memoryview(table.data)
    hops = []
    here = 0
    while here < n_words:
        hops.append(here)
        here = at[here]
    return np.array(hops, dtype=np.int32)


def _broken(sections: Sections, word: int) -> DataError:
    """What is wrong with the record at `word`."""
    place = f"BTF at byte {sections.type_start + 4 * word}"
    words = words_of(sections)
    if word + RECORD_WORDS > len(words):
        return DataError(f"{place}: the type section ends within a record")
    info = words[word + 1 : word + 2]
    kind, length = int(kinds_of(info)[0]), int(lengths_of(info)[0])
    if kind not in sections.record_words:
        return DataError(f"{place}: a type of unknown kind {kind}", hint="this BTF is newer than this program")
    name = KIND_NAMES[kind] if kind < len(KIND_NAMES) else f"type of kind {kind}"
    return DataError(f"{place}: a {name} of {length} elements reaches over the end of the type section")


def spread(starts: Ids, counts: Ids, step: int) -> Ids:
    """`start, start + step, …` (`count` of them) for each start, one after the other."""
    total = int(counts.sum())
    before = np.cumsum(counts) - counts
    return np.repeat(starts - before * step, counts) + np.arange(total, dtype=np.int64) * step
