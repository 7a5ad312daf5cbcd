"""A clip and a network small enough to ship, whose signature frames are known."""
