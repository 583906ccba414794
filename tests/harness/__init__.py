"""What every suite of `tests/run.py` is made of: checks and their count, processes that end with the suite, servers of the program
under test, and Python environments. Python 3.9, standard library only.
"""

from .checks import Program, check, not_run, note, succeeds, together
from .environments import environment
from .precision import precision
from .processes import ROOT, Refused, eventually, free_port, is_there, need, output, start, work
from .server import COMPUTES, PATIENCE, Server, certificate, tiny_embedder, tiny_model

__all__ = [
    "COMPUTES", "PATIENCE", "ROOT", "Program", "Refused", "Server", "certificate", "check", "environment", "eventually", "free_port",
    "is_there", "need", "not_run", "note", "output", "precision", "start", "succeeds", "tiny_embedder", "tiny_model",
    "together", "work",
]
