"""Questions to the city in three dimensions: what lies above and under a place, what is seen, shaded, in the way.

Everything is computed from what is served: the triangles of 3D tilesets and the terrain. So an answer agrees with what a
scene shows, for whatever kind of object, and follows edits as the tilesets do.
"""
