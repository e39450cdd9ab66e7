"""Scales images that lie in a folder; their thumbnails go below `thumbnails/` of the same folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from redisqueue_worker import Context, DeadLetter


@dataclass
class Thumbnail:
    source: str
    width: int = 320


def make(job: Thumbnail, context: Context) -> str:
    """Write the thumbnail of one image, and tell where. The second time the new file replaces the old one."""
    folder = Path(os.environ["IMAGES"]).resolve()
    source = (folder / job.source).resolve()
    if not source.is_relative_to(folder) or not 0 < job.width <= 4096:
        raise DeadLetter("the source lies outside of the folder, or the width is not from 1 to 4096")
    target = folder / "thumbnails" / str(job.width) / source.relative_to(folder).with_suffix(".jpg")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{context.id}")
    try:
        with Image.open(source) as image:
            image.thumbnail((job.width, 4 * job.width))
            image.convert("RGB").save(part, "JPEG")
    except FileNotFoundError:
        raise DeadLetter("there is no such image") from None
    except UnidentifiedImageError:
        raise DeadLetter("it is no image that Pillow can read") from None
    part.replace(target)
    context.logger.info("scaled", extra={"width": job.width})
    return str(target.relative_to(folder))
