"""Picture files of strangers: formats, sizes, orientation, depth."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from excise.files import pictures as picture_files
from excise.files.pictures import open_picture
from excise.images import read_picture


def painted(mode: str = "RGB") -> Image.Image:
    """40 x 20: the left half dark, the right half bright."""
    picture = Image.new("L", (40, 20), 10)
    picture.paste(240, (20, 0, 40, 20))
    return picture.convert(mode)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_what_is_known_is_opened(form: str, tmp_path: Path) -> None:
    painted().save(tmp_path / "any.name", format=form)
    found = open_picture(tmp_path / "any.name")
    assert found.mode == "RGB" and found.size == (40, 20)


@pytest.mark.parametrize("form", ["EPS", "GIF", "BMP", "TIFF", "PPM", "ICO", "PDF"])
def test_others_are_refused_whatever_they_are_called(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An EPS file named .png would start Ghostscript."""
    monkeypatch.setattr("subprocess.Popen", lambda *a, **k: pytest.fail("a program was started"))
    painted().save(tmp_path / "a.png", format=form)
    with pytest.raises(ValueError, match=r"a\.png is not a picture that can be read \(it is no PNG, JPEG, WEBP file\)"):
        open_picture(tmp_path / "a.png")


def test_a_picture_lies_as_its_exif_data_say(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: 90 degrees clockwise to be upright
    painted().save(tmp_path / "turned.jpg", exif=exif)
    found = np.asarray(open_picture(tmp_path / "turned.jpg"))
    assert found.shape == (40, 20, 3)
    assert found[:15].mean() < 30 and found[-15:].mean() > 220


def test_sixteen_bits_are_scaled_not_cut_off(tmp_path: Path) -> None:
    levels = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    found = np.asarray(open_picture(tmp_path / "deep.png"))[..., 0]
    np.testing.assert_allclose(found / 255, levels / 65535, atol=1 / 255)
    assert float(read_picture(tmp_path / "deep.png", 8).max()) == pytest.approx(1.0)


def test_a_picture_that_is_too_large_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_files, "MOST_PIXELS", 799)
    painted().save(tmp_path / "large.png")
    with pytest.raises(ValueError, match="40 x 20 pixels, more than 799"):
        open_picture(tmp_path / "large.png")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_damaged_files_open_or_are_refused_in_one_line(form: str, tmp_path: Path) -> None:
    """Bytes changed, cut off or added at random places: never another error."""
    packed = io.BytesIO()
    painted().save(packed, format=form)
    random_, whole = random.Random(form), packed.getvalue()
    for number in range(150):
        data = bytearray(whole)
        for _ in range(random_.randint(1, 8)):
            data[random_.randrange(len(data))] = random_.randrange(256)
        file = tmp_path / f"{number}.png"
        file.write_bytes(bytes(data[: random_.choice([len(data), random_.randrange(1, len(data))])]))
        try:
            assert open_picture(file).mode == "RGB"
        except ValueError as error:
            assert str(file) in str(error) and "\n" not in str(error)
