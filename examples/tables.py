"""The data files of the examples: in the folder that GRAPHC_DATA names, or in Keras's cache, ~/.keras/datasets."""

import csv
import os
import sys
from pathlib import Path

import numpy as np


def find(name):
    """The path of a file, or the end of the program with a word about where it belongs."""
    cache = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "datasets"
    for folder in filter(None, (os.environ.get("GRAPHC_DATA"), cache)):
        if (Path(folder) / name).is_file():
            return Path(folder) / name
    return sys.exit(f"There is no {name}. Put it into {cache}, or name the folder that has it in GRAPHC_DATA.")


def columns(name, wanted):
    """The numbers (rows,columns) of some columns of a table; rows where one is missing, -1 or empty, are left out."""
    with find(name).open(newline="") as file:
        rows = [[float(row[column] or -1) for column in wanted] for row in csv.DictReader(file)]
    return np.array([row for row in rows if -1 not in row], np.float32)
