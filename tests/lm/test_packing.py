"""Texts in pieces of a few widths: how they are cut."""

import numpy as np

from jaxpsn.lm import packing


def test_pieces_hold_the_budget_and_cost_little_more_than_the_tokens():
    lengths = np.random.default_rng(0).integers(100, 1001, (1, 256))
    cut = packing.plan(4096, 1, 256, 1064)
    assert len(cut.widths) <= packing.MOST and cut.widths[-1] == 1072
    pieces = cut.pieces(lengths)
    assert all(width * rows <= 4096 for width, rows in pieces)
    cost = sum(width * rows for width, rows in pieces)
    assert lengths.sum() < cost < 1.35 * lengths.sum() < 0.75 * lengths.size * 1072
    # The longest of a piece fits, and everything is read once.
    longest, at = np.sort(lengths[0])[::-1], 0
    for width, rows in pieces:
        assert longest[at] <= width
        at += rows
    assert at >= 256


def test_members_share_a_piece_and_empty_texts_are_left_out():
    cut = packing.plan(256, 4, 6, 60)
    assert all(4 * width * rows <= 256 for width, rows in zip(cut.widths, cut.rows, strict=True))
    lengths = np.array([[60, 10, 0, 0, 0, 0], [10, 10, 10, 0, 0, 0], [0] * 6, [16, 0, 0, 0, 0, 0]])
    assert cut.pieces(lengths) == [(64, 1), (16, 4)]
