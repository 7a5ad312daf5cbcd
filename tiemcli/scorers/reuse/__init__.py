"""Scoring that computes once what several clips share: frames, or stretches of them."""
