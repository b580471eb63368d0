"""Colours, letters and gaps of still pictures."""

from __future__ import annotations

INK, FAINT, LINE, EMPTY = "#1f2328", "#5f6670", "#d8dce0", "#eceef0"
ACCENT, SELECT = "#1971c2", "#d6246e"
HIGH = "#c2185b"  # the mark of tokens of high norm
TITLE, TEXT, SMALL = 19, 18, 16  # sizes of letters in pixels
GAP = 16
