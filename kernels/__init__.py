"""The arithmetic of perturbation, arrays in and arrays out, and the graph surgery that fuses it.

Everything here depends on NumPy and onnx alone. Throughout, a keep-mask is 1 where the clip is
kept and 0 where its base shows instead.
"""
