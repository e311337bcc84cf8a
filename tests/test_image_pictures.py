"""Image files: what becomes of each kind, and what is refused in one line."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from dpo_credit.credit import CreditError
from dpo_credit.image.pictures import Picture, read_picture

RED_GREEN = np.array([[[255, 0, 0], [0, 255, 0]]], np.uint8)  # one row: red on the left
SHADES = np.arange(24, dtype=np.uint8).reshape(4, 2, 3) * 10


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def test_a_picture_is_its_pixels() -> None:
    picture = read_picture(saved(Image.fromarray(SHADES)), "a.png")
    assert (picture.width, picture.height, picture.size, picture.notes) == (2, 4, "2 x 4", ())
    np.testing.assert_array_equal(picture.pixels, SHADES)


def test_grey_is_three_equal_colours() -> None:
    picture = read_picture(saved(Image.new("L", (2, 1), 77)), "a.png")
    assert picture.pixels.tolist() == [[[77] * 3] * 2] and picture.notes == ()


def test_transparency_is_laid_on_white() -> None:
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 51))  # a fifth of black: 255 * 4 / 5 = 204
    picture = read_picture(saved(image), "a.png")
    assert picture.pixels.tolist() == [[[255, 0, 0], [204] * 3]]
    assert picture.notes == ("a.png is transparent in parts: laid on white",)
    assert read_picture(saved(Image.new("RGBA", (2, 1), (9, 9, 9, 255))), "a.png").notes == ()


def test_sixteen_bits_are_read_as_eight() -> None:
    image = Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16))
    picture = read_picture(saved(image), "a.png")
    assert picture.pixels[0, :, 0].tolist() == [0, 100, 255]
    assert picture.notes == ("a.png has 16 bits a colour: read as 8",)


def test_cmyk_is_made_red_green_and_blue() -> None:
    picture = read_picture(saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"), "a.tiff")
    assert picture.pixels[0, 0].tolist() == [255, 0, 0]
    assert picture.notes == ("a.tiff is in CMYK, made red, green and blue",)


def test_a_picture_is_turned_as_its_exif_says() -> None:
    exif = Image.Exif()
    exif[274] = 3  # half a turn
    picture = read_picture(saved(Image.fromarray(RED_GREEN), exif=exif), "a.png")
    np.testing.assert_array_equal(picture.pixels, RED_GREEN[:, ::-1])
    assert picture.notes == ("a.png is turned as its EXIF says",)


def gif() -> bytes:
    frames = [Image.new("L", (2, 2), 99 * n) for n in range(3)]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:])


def bomb() -> bytes:
    return saved(Image.new("1", (20_000, 5_000)))  # 100 million pixels in some kB


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", r"^a\.png is empty\. Give a PNG, JPEG or WebP file\.$"),
    "text": (lambda: b"a red circle", r"^a\.png is no picture: Pillow knows no such format\. Give a PNG"),
    "truncated": (
        lambda: saved(Image.effect_noise((64, 64), 50))[:-900],
        r"^a\.png is broken or not whole: .*\. Copy or download it again\.$",
    ),
    "animated": (gif, r"^a\.png holds 3 pictures, one after another\. Save the one that you mean\.$"),
    "a bomb": (bomb, r"^a\.png has more than 89 million pixels\. Give a smaller picture\.$"),
    "floats": (
        lambda: saved(Image.new("F", (2, 2)), "TIFF"),
        r"^a\.png has numbers of 32 bits a pixel, and nothing says which is white\. Save it as PNG\.$",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_picture_is_refused(kind: str) -> None:
    make, message = BAD[kind]
    with pytest.raises(CreditError, match=message):
        read_picture(make(), "a.png")


def test_resizing_covers_the_size_and_crops_about_the_centre() -> None:
    wide = np.zeros((2, 6, 3), np.uint8)
    wide[:, 2:4] = 200  # the middle third is what is left
    picture = Picture("a.png", wide).resized(2, 2)
    assert picture.pixels.tolist() == [[[200] * 3] * 2] * 2
    assert picture.notes == ("a.png was 6 x 2 and is scaled and cropped to 2 x 2",)
    assert picture.resized(2, 2) is picture
