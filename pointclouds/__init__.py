"""Point cloud readers, the COPC writer and point tilesets. Imports nothing of ours."""
