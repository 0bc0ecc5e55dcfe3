"""LAS and LAZ files: their bytes, their records, reading them without trusting them."""
