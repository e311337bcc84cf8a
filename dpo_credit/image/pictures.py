"""Image files become arrays of red, green and blue: what is changed on the way is said, what is no picture refused."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from dpo_credit.checked import reason_of
from dpo_credit.credit import CreditError

Pixels = NDArray[np.uint8]
_WHITE = (255, 255, 255)
_OF_16_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_UNBOUNDED = ("I", "F")  # 32 bits a pixel: nothing says which number is white


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture and what it is called. `pixels`: (H, W, 3), sRGB. `notes`: what of the file is not as it stood."""

    name: str
    pixels: Pixels
    notes: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """In pixels."""
        return self.pixels.shape[1]

    @property
    def height(self) -> int:
        """In pixels."""
        return self.pixels.shape[0]

    @property
    def size(self) -> str:
        """As people read it."""
        return f"{self.width} x {self.height}"

    def resized(self, width: int, height: int) -> Picture:
        """The picture in another size: scaled until it covers it, then cropped about its centre, and said so.

        The trainer of Diffusion-DPO makes its pictures fit in the same way, with bilinear filtering.
        """
        if (width, height) == (self.width, self.height):
            return self
        image = ImageOps.fit(Image.fromarray(self.pixels), (width, height), Image.Resampling.BILINEAR)
        note = f"{self.name} was {self.size} and is scaled and cropped to {width} x {height}"
        return replace(self, pixels=np.asarray(image), notes=(*self.notes, note))


def read_picture(data: bytes, name: str) -> Picture:
    """The picture of a file's bytes: turned as its EXIF says, transparency over white, 8 bits a colour.

    Args:
        data: PNG, JPEG, WebP or whatever else Pillow reads.
        name: for messages and for the views.

    Raises:
        CreditError: it is no picture, not a whole one, several in one file, or larger than 89 million pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
            frames = getattr(image, "n_frames", 1)
            if frames > 1:
                raise CreditError(f"{name} holds {frames} pictures, one after another. Save the one that you mean.")
            image.load()
            upright = ImageOps.exif_transpose(image)
    except UnidentifiedImageError as error:
        what = "is empty" if not data else "is no picture: Pillow knows no such format"
        raise CreditError(f"{name} {what}. Give a PNG, JPEG or WebP file.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        most = (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise CreditError(f"{name} has more than {most} million pixels. Give a smaller picture.") from error
    except CreditError:
        raise
    except Exception as error:  # whatever a decoder raises is about the file
        raise CreditError(f"{name} is broken or not whole: {reason_of(error)}. Copy or download it again.") from error
    notes = (
        [f"{name} is turned as its EXIF says"] if upright.size != image.size or image.getexif().get(274, 1) != 1 else []
    )
    rgb, more = _rgb(upright, name)
    return Picture(name, np.asarray(rgb), (*notes, *more))


def _rgb(image: Image.Image, name: str) -> tuple[Image.Image, list[str]]:
    """An image in 8 bits of red, green and blue, and what there is to say about that."""
    if image.mode in _UNBOUNDED:
        raise CreditError(f"{name} has numbers of 32 bits a pixel, and nothing says which is white. Save it as PNG.")
    if image.mode in _OF_16_BITS:
        grey = np.asarray(image).astype(np.float64) / 257  # 65535 / 255
        return Image.fromarray(grey.round().astype(np.uint8)).convert("RGB"), [
            f"{name} has 16 bits a colour: read as 8"
        ]
    if image.has_transparency_data:
        whole = image.convert("RGBA")
        low, _ = whole.getchannel("A").getextrema()
        if low == 255:
            return whole.convert("RGB"), []
        paper = Image.new("RGBA", whole.size, (*_WHITE, 255))
        return Image.alpha_composite(paper, whole).convert("RGB"), [f"{name} is transparent in parts: laid on white"]
    notes = (
        [f"{name} is in {image.mode}, made red, green and blue"]
        if image.mode in ("CMYK", "YCbCr", "LAB", "HSV")
        else []
    )
    return image.convert("RGB"), notes
