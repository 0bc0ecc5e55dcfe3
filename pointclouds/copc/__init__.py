"""COPC 1.0: the octree, its pages, reading, writing and checking a file."""
