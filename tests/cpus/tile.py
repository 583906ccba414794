"""Reads an aarch64 program as instructions and checks its register tiles: loops of 96 FMLA (four steps of 12 x 8), with few
instructions beside them and none that moves an accumulator to the stack.
"""

import re

from harness import output

TILES = 5  # three products (plain, added, gated), two in attention
FMLA = 4 * 12 * 2
BESIDE = 20  # 10 loads, the loop's own, and what fetches ahead

INSTRUCTION = re.compile(r"\s*([0-9a-f]+):\s+(\S+)\s*(.*)")
TARGET = re.compile(r"\b([0-9a-f]+) <")


def innermost(loops):
    for start, end in loops:
        if not any(start <= s and e <= end and (s, e) != (start, end) for s, e in loops):
            yield start, end


def lanes(loop):
    """FMLA by a lane among these instructions."""
    return sum(operation == "fmla" and ".s[" in operands for _, operation, operands in loop)


def in_registers(program):
    """A line for each tile; the one that spills, or too few of them, fail."""
    disassembled = output("aarch64-linux-gnu-objdump", "-d", "--no-show-raw-insn", program).splitlines()
    code = [(int(m[1], 16), m[2], m[3]) for m in map(INSTRUCTION.match, disassembled) if m]
    place = {address: i for i, (address, _, _) in enumerate(code)}
    loops = []
    for end, (_, operation, operands) in enumerate(code):
        target = TARGET.search(operands)
        if target and operation.startswith(("b", "cb", "tb")) and operation != "bl":
            start = place.get(int(target[1], 16), end)
            if end - 3 * FMLA < start < end:
                loops.append((start, end))

    # What fetches ahead is a loop of its own within.
    loops = innermost([(start, end) for start, end in loops if lanes(code[start : end + 1]) > 0])
    tiles = [loop for loop in (code[start : end + 1] for start, end in loops) if lanes(loop) == FMLA]
    found, good = [], len(tiles) >= TILES
    for loop in tiles:
        loads = sum(operation.startswith("ld") for _, operation, _ in loop)
        stack = sum("[sp" in operands for _, _, operands in loop)
        found.append(f"{len(loop)} instructions: {FMLA} FMLA, {loads} loads, {stack} to or from the stack")
        good &= len(loop) <= FMLA + BESIDE and stack == 0
    listed = "\n".join(found)
    assert good, f"a tile does not stay in registers, or fewer than {TILES} loops have {FMLA} FMLA by a lane:\n{listed}"
    return found
