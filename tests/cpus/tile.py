"""Reads an aarch64 program as instructions and checks its register tiles: loops of four steps of 12 x 8, which are 96 FMLA of floats, 96
SDOT of bytes or 192 SMLAL of i16, with few instructions beside them and none that moves a sum to the stack.
"""

import re

from harness import output

# What multiplies by a lane: its name, the lane, how many a loop has, and how many loops there are at least.
TILES = [
    ("fmla", ".s[", 96, 3),  # the product, whatever becomes of it, and two in attention
    ("sdot", ".4b[", 96, 1),
    ("smlal", ".h[", 192, 1),
]
LONGEST = 288
BESIDE = 24  # 10 loads, what parts the halves of i16, the loop's own, and what fetches ahead

INSTRUCTION = re.compile(r"\s*([0-9a-f]+):\s+(\S+)\s*(.*)")
TARGET = re.compile(r"\b([0-9a-f]+) <")


def innermost(loops):
    for start, end in loops:
        if not any(start <= s and e <= end and (s, e) != (start, end) for s, e in loops):
            yield start, end


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
            if end - LONGEST < start < end:
                loops.append((start, end))
    return [line for tile in TILES for line in of_one_kind(code, loops, *tile)]


def of_one_kind(code, loops, product, lane, full, at_least):
    def products(loop):
        return sum(operation.removesuffix("2") == product and lane in operands for _, operation, operands in loop)

    # What fetches ahead is a loop of its own within.
    loops = innermost([(start, end) for start, end in loops if products(code[start : end + 1]) > 0])
    tiles = [loop for loop in (code[start : end + 1] for start, end in loops) if products(loop) == full]
    found, good = [], len(tiles) >= at_least
    for loop in tiles:
        loads = sum(operation.startswith("ld") for _, operation, _ in loop)
        stack = sum("[sp" in operands for _, _, operands in loop)
        found.append(f"{len(loop)} instructions: {full} {product.upper()}, {loads} loads, {stack} to or from the stack")
        good &= len(loop) <= full + BESIDE and stack == 0
    listed = "\n".join(found)
    what = f"a tile does not stay in registers, or fewer than {at_least} loops have {full} {product.upper()} by a lane"
    assert good, f"{what}:\n{listed}"
    return found
