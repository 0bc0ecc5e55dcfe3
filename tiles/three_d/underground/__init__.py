"""What lies under the ground as objects of a tileset: pipes, wells, boreholes, geology, bodies and tunnels.

Modules here know arrays, geometries and heights; where features come from is told by `providers.three_d`.
"""
