"""Only a length that a file states with its unit is believed."""

from __future__ import annotations

import pytest

from unetkit.data.formats.spacing import (
    aperio_spacing,
    grid_of,
    imagej_spacing,
    ome_spacing,
    read_density,
    tag_spacing,
)
from unetkit.records.case import Grid


def pixels(attributes, head=""):
    return f'{head}<ome:OME xmlns:ome="urn:x"><ome:Image><ome:Pixels {attributes}/></ome:Image></ome:OME>'


@pytest.mark.parametrize(
    ("attributes", "spacing"),
    [
        ('PhysicalSizeX="2" PhysicalSizeY="3"', {"X": 0.002, "Y": 0.003}),
        ('PhysicalSizeX="250" PhysicalSizeXUnit="nm"', {"X": 0.00025}),
        ('PhysicalSizeX="2" PhysicalSizeXUnit="&#181;m"', {"X": 0.002}),
        ('PhysicalSizeZ="1.5" PhysicalSizeZUnit="mm"', {"Z": 1.5}),
        ('PhysicalSizeX="2" PhysicalSizeXUnit="pixel"', {}),
        ('PhysicalSizeX="nan" PhysicalSizeY="-1" PhysicalSizeZ="wide"', {}),
        ("", {}),
    ],
)
def test_ome(attributes, spacing):
    head = '<?xml version="1.0" encoding="UTF-8"?><!-- made by a microscope -->'
    assert ome_spacing(pixels(attributes, head)) == pytest.approx(spacing)


def test_what_is_no_plain_xml_states_nothing():
    whole = pixels('PhysicalSizeX="2"')
    for text in ("", "ImageJ=1.5", whole[:-3], pixels('PhysicalSizeX="2"', "<!DOCTYPE a [<!ENTITY b 'c'>]>")):
        assert ome_spacing(text) == {}


@pytest.mark.parametrize(
    ("text", "spacing"),
    [
        ("Aperio Image Library v11\r\n9x9|AppMag = 20|MPP = 0.499", {"X": 0.000499, "Y": 0.000499}),
        ("Aperio Leica\r\n9x9|mpp=0.25|Left = 2", {"X": 0.00025, "Y": 0.00025}),
        ("Aperio Image Library v11\r\n9x9|AppMag = 20", {}),
        ("Aperio|MPP = 0|x", {}),
        ("Aperio|MPP = nan", {}),
        ("Aperio|MPP = about 1", {}),
        ("made of Aperio|MPP = 0.499", {}),
        ("", {}),
    ],
)
def test_aperio(text, spacing):
    assert aperio_spacing(text) == pytest.approx(spacing)


@pytest.mark.parametrize(
    ("facts", "density", "spacing"),
    [
        ({"unit": "um", "spacing": 5.0}, (2.0, 4.0), {"X": 0.0005, "Y": 0.00025, "Z": 0.005}),
        ({"unit": "\\u00B5m"}, (2.0, 2.0), {"X": 0.0005, "Y": 0.0005, "Z": 0.001}),
        ({"unit": "micron", "zunit": "mm", "spacing": -2}, (1.0, 1.0), {"X": 0.001, "Y": 0.001, "Z": 2.0}),
        ({"unit": "mm"}, (1.0, 1.0), {"X": 1.0, "Y": 1.0, "Z": 1.0}),
        ({"unit": "pixel", "spacing": 2.0}, (1.0, 1.0), {}),
        ({"spacing": 2.0}, (2.0, 2.0), {}),
        ({"unit": "inch"}, (72.0, 72.0), {}),  # carried over from a JPEG
        ({"unit": "inch"}, (508.0, 508.0), {"X": 0.05, "Y": 0.05, "Z": 25.4}),
        ({}, (0.0, 0.0), {}),
    ],
)
def test_imagej(facts, density, spacing):
    assert imagej_spacing(facts, density) == pytest.approx(spacing)


@pytest.mark.parametrize(
    ("density", "unit", "spacing"),
    [
        ((254.0, 508.0), 2, {"X": 0.1, "Y": 0.05}),
        ((1000.0, 1000.0), 3, {"X": 0.01, "Y": 0.01}),
        ((1000.0, 1000.0), 1, {}),
        ((1000.0, 1000.0), 0, {}),
        ((0.0, 1000.0), 3, {"Y": 0.01}),
    ],
)
def test_tags(density, unit, spacing):
    assert tag_spacing(density, unit) == pytest.approx(spacing)


@pytest.mark.parametrize(
    ("density", "unit"),
    [(1, 2), (72, 2), (72.009, 2), (96, 2), (300, 2), (1, 3), (28.346, 3), (37.795, 3), (118.11, 3)],
)
def test_the_density_of_screens_and_printers_is_no_measurement(density, unit):
    assert tag_spacing((density, density), unit) == {}


def test_rationals_and_numbers():
    assert read_density((5000, 2), 12.5) == (2500.0, 12.5)
    assert read_density((1, 0), None) == (0.0, 0.0)


def test_one_axis_without_a_spacing_leaves_all_of_them_unknown():
    assert grid_of({"X": 0.5, "Y": 0.25}, 3) == Grid.plain(3)
    assert grid_of({"X": 0.5}, 2) == Grid.plain(2)
    full = grid_of({"X": 0.5, "Y": 0.25, "Z": 2.0}, 3)
    assert (full.spacing_mm, full.calibrated) == ((2.0, 0.25, 0.5), True)
