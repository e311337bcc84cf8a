"""Which parts of a picture a Diffusion-DPO model rewards: pictures and two denoisers become a `PictureCredit`."""

from dpo_credit.image.credit import PictureCredit, PictureDiff

__all__ = ["PictureCredit", "PictureDiff"]
