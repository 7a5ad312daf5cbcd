"""Stage 2: per frame, the smallest region that keeps the prediction (Eq. 5-7)."""
