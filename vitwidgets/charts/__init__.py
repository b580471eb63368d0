"""Figures that share a cursor: curves over layers and rates, heads, and layers against layers.

Drawn by bqplot, which nothing else of this package needs. Each chart also has its numbers as ``data``, and
gives a still picture of itself.
"""

from vitwidgets.charts.chart import Chart as Chart
from vitwidgets.charts.heads import attention_distance as attention_distance
from vitwidgets.charts.heads import head_entropy as head_entropy
from vitwidgets.charts.layers import GroupingChart as GroupingChart
from vitwidgets.charts.layers import lines as lines
from vitwidgets.charts.rates import RateCurve as RateCurve
from vitwidgets.charts.similarity import cka as cka

__all__ = ["Chart", "GroupingChart", "RateCurve", "attention_distance", "cka", "head_entropy", "lines"]
