"""Sources of 3D objects over the features of a collection, and the recipes by which they are opened again."""
