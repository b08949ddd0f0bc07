from __future__ import annotations

import numpy as np
import pytest

from unetkit.data.exchange.lidc_readings import read_reading
from unetkit.errors import DataError

RING = np.array([(5, 7), (5, 9), (8, 9), (8, 7)])  # rows and columns


@pytest.fixture
def read(tmp_path):
    def read(text):
        (tmp_path / "069.xml").write_text(text)
        return read_reading(tmp_path / "069.xml")

    return read


def test_what_each_reader_drew_is_kept_as_written(read, lidc):
    rois = [lidc.roi(RING, instance="1.2.3", height=-125.5), lidc.roi(RING + 1, height=-123, included=False)]
    reading = read(lidc.reading(["", lidc.nodule(rois, malignancy=4, sphericity=0, texture=9)], series="1.2"))
    assert (reading.series, reading.readers, reading.points) == ("1.2", 2, ())
    (nodule,) = reading.nodules
    assert (nodule.reader, nodule.traits) == (1, {"malignancy": 4})  # what is on no scale was not rated
    first, second = nodule.outlines
    assert (first.place.instance, first.place.height_mm, first.included) == ("1.2.3", -125.5, True)
    np.testing.assert_array_equal(first.ring, RING)
    assert (second.place.instance, second.included) == ("", False)


def test_small_nodules_and_what_is_none_are_points(read, lidc):
    small = lidc.nodule([lidc.roi(RING[:1], height=1)])
    other = (
        "<nonNodule><nonNoduleID>2</nonNoduleID><imageZposition>2.5</imageZposition><imageSOP_UID>9</imageSOP_UID>"
        "<locus><xCoord>3</xCoord><yCoord>4</yCoord></locus></nonNodule>"
    )
    reading = read(lidc.reading([small + other]))
    assert reading.nodules == ()
    assert [(point.kind, point.row, point.column) for point in reading.points] == [
        ("nodule < 3 mm", 5, 7),
        ("non-nodule", 4, 3),
    ]
    assert [point.place.height_mm for point in reading.points] == [1, 2.5]


def test_an_outlined_nodule_without_ratings_is_a_nodule(read, lidc):
    (nodule,) = read(lidc.reading([lidc.nodule([lidc.roi(RING, height=1)])])).nodules
    assert nodule.traits == {}


def test_readings_of_chest_films_are_none(read, lidc):
    assert read(lidc.reading([""], root="IdriReadMessage")) is None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("<xCoord>7</xCoord>", "<xCoord>seven</xCoord>", "'xCoord' is no number"),
        ("<xCoord>7</xCoord>", "<xCoord>7.5</xCoord>", r"the point \(7\.5, 5\) is no pixel"),
        ("<xCoord>7</xCoord>", "<xCoord>-7</xCoord>", "is no pixel"),
        ("<xCoord>7</xCoord>", "", "'xCoord' is no number"),
        ("<imageZposition>1 </imageZposition>", "", "a mark names no slice"),
        ("<imageZposition>1 </imageZposition>", "<imageZposition>nan</imageZposition>", "is no number"),
        ("<inclusion>TRUE</inclusion>", "<inclusion>MAYBE</inclusion>", "'inclusion' is 'MAYBE'"),
        ("edgeMap", "edge", "an outline has no point"),
        ("roi>", "region>", "a nodule has no outline"),
        ("readingSession", "session", "it has no reading session"),
        ("</LidcReadMessage>", "", "truncated or damaged"),
        ("<LidcReadMessage", '<!DOCTYPE x [<!ENTITY a "b">]><LidcReadMessage', "declares a document type"),
    ],
)
def test_what_cannot_be_is_refused_by_name(read, lidc, old, new, words):
    whole = lidc.reading([lidc.nodule([lidc.roi(RING, height=1)])])
    assert old in whole
    with pytest.raises(DataError, match=rf"069\.xml: .*{words}"):
        read(whole.replace(old, new))
