"""Scripts that train with one library each, a chunk at a time; all but ours are run by a Python of the peer's own.

They import nothing of this package but :mod:`protocol`, which lies beside them and needs the standard library alone.
"""
