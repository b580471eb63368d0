"""Many images: measures over a set of them, with baselines."""

from vitwidgets.study.baselines import random_weights
from vitwidgets.study.changes import Occluded, Shuffled, label_image
from vitwidgets.study.grouping_study import GroupingStudy, grouping

__all__ = ["GroupingStudy", "Occluded", "Shuffled", "grouping", "label_image", "random_weights"]
