"""How good an explanation is: against a known truth, and by the network's own scores.

Pure functions of masks, saliency volumes and a `Scorer`. A mask is `kept`, (T, H, W) in [0, 1],
1 where the clip is kept; `saliency` is (T, H, W), the larger the more a pixel speaks for the target.
A metric that is not defined for what it is given, such as of a mask that keeps nothing, is NaN.
"""
