"""Figures about aerloom. One thread on every side of a ratio, which has to be said before NumPy is imported."""

import os

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
