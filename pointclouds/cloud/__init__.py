"""A point cloud as one thing, whether it is one COPC or thousands: its index, its nodes' statistics, questions to it."""
