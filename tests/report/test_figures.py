"""Curves are means over seeds; figures hold no text from outside."""

import re

import pytest

from adamergex.report.figures import curve, curves, geometry
from adamergex.report.reading import Geometry, Row
from tests.support.results import HOSTILE, relation, results, row_of


def row(method="adamergex", variant="translation, weight", **changes):
    return Row.model_validate({**row_of(results(), method, variant), **changes})


def test_a_curve_is_the_mean_over_seeds():
    """Dev scores are 0.47, 0.52, 0.49, and 1/32 more with the second seed."""
    points = curve(row())
    assert [point.scale for point in points] == [0, 0.5, 1]
    expected = [0.47 + 1 / 64, 0.52 + 1 / 64, 0.49 + 1 / 64]
    assert [point.score for point in points] == pytest.approx(expected)
    assert [point.standard_error for point in points] == pytest.approx([0.05] * 3)


def test_a_row_that_chooses_among_other_rows_has_no_curve():
    assert curve(row(variant="best on dev")) == []


def test_a_row_that_dev_did_not_choose_has_no_curve():
    assert curve(row("source-ft", "")) == []


def test_one_setting_is_no_curve():
    runs = [{"seed": 0, "score": 0.5, "dev": [{"label": "t=1", "scale": 1.0, "score": 0.5}]}]
    assert curve(row(runs=runs)) == []


def test_a_scale_that_only_one_seed_tried_is_that_seeds():
    runs = row_of(results(), "adamergex", "translation, weight")["runs"]
    del runs[1]["dev"][2]
    assert curve(row(runs=runs))[2].score == 0.49


def test_points_without_a_scale_or_an_error_are_drawn_without():
    dev = [
        {"label": "none", "scale": None, "score": 0.1},
        {"label": "t=0", "scale": 0.0, "score": 0.2},
        {"label": "t=1", "scale": 1.0, "score": 0.3},
    ]
    points = curve(row(runs=[{"seed": 0, "score": 0.5, "dev": dev}]))
    assert [(p.scale, p.score, p.standard_error) for p in points] == [
        (0, 0.2, None),
        (1, 0.3, None),
    ]
    assert "<svg" in curves({"a": points}, "key").svg


def made(cosine=0.3, ratio=1.0):
    part = relation(cosine, ratio)
    return Geometry.model_validate({"references": part, "divergence_to_task": part})


def test_nothing_to_draw_is_no_figure():
    assert curves({}, "key") is None
    assert geometry({}, "key") is None
    outside = {"cosine": 0.1, "norm_ratio": 1.0, "by_layer": []}
    only = Geometry.model_validate({"references": outside, "divergence_to_task": outside})
    assert geometry({"a": only}, "key") is None


def test_what_is_not_defined_is_left_out_of_the_line():
    assert "nan" not in geometry({"a": made(None, None)}, "key").svg.lower()


def test_names_stay_out_of_the_picture_and_in_the_legend():
    names = [HOSTILE, "_hidden", "$\\frac{1$"]
    for drawing in (
        curves({name: curve(row()) for name in names}, "key"),
        geometry({name: made() for name in names}, "key"),
    ):
        assert [stroke.label for stroke in drawing.legend] == names
        words = re.findall(r"<text[^>]*>([^<]*)</text>", drawing.svg)
        known = {"scale", "score", "layer", "cosine(Rt, Rs)", "|Rt - Rs| / |T|"}
        assert all(w in known or re.fullmatch(r"[−\d.]+", w) for w in words), words
        assert words


def test_lines_are_told_apart_by_colour_or_dashes():
    drawing = curves({str(i): curve(row()) for i in range(24)}, "key")
    assert len({(stroke.colour, stroke.dashes) for stroke in drawing.legend}) == 24


def test_the_figure_takes_the_size_and_the_ink_of_the_page():
    svg = curves({"a": curve(row())}, "key").svg
    opening = svg[: svg.index(">")]
    assert "viewBox" in opening
    assert " width=" not in opening
    assert " height=" not in opening
    assert "currentColor" in svg
    assert "#010203" not in svg


def test_figures_of_one_page_share_no_identifier():
    points = curve(row())
    first, second = (curves({"a": points}, key).svg for key in ("one", "two"))
    ids = [set(re.findall(r' id="([^"]*)"', svg)) for svg in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert curves({"a": points}, "one").svg == first
