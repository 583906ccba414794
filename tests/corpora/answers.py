"""Prints the rows of a directory of Parquet files as lines of JSON; numbers of vectors as float32 has them. For `recipes`, in an
environment that has PyArrow.
"""

import json
import sys

import numpy
import pyarrow.parquet

for row in pyarrow.parquet.read_table(sys.argv[1]).to_pylist():
    if "embedding" in row:
        # Through the shortest digits, as the program writes them.
        row["embedding"] = [float(str(number)) for number in numpy.array(row["embedding"], "float32")]
    print(json.dumps(row))
