from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitwidgets.errors import ImageError
from vitwidgets.images import open_image


def photo(width: int = 20, height: int = 12) -> Image.Image:
    """A smooth picture in which no two corners are alike."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 255 // (width - 1), y * 255 // (height - 1), np.full_like(x, 60)], axis=2)
    return Image.fromarray(pixels.astype(np.uint8))


def array(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def png(width: int, height: int) -> bytes:
    """The beginning of a PNG that claims to be of this size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + header
        + struct.pack(">I", zlib.crc32(header))
        + struct.pack(">I", 0)
        + b"IDAT"
        + struct.pack(">I", zlib.crc32(b"IDAT"))
    )


def test_rgb_file_and_image_and_array_agree(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    photo().save(path)
    for source in (path, str(path), photo(), np.asarray(photo())):
        image = open_image(source)
        assert image.mode == "RGB"
        assert np.array_equal(array(image), array(photo()))


def test_the_result_is_a_copy() -> None:
    source = photo()
    open_image(source).putpixel((0, 0), (1, 2, 3))
    assert source.getpixel((0, 0)) == (0, 0, 60)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    undo = {
        1: [],
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],  # stored turned left, to be shown turned right by 90 degrees
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }[orientation]
    stored = photo()
    for step in undo:
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(array(open_image(tmp_path / "turned.png")), array(photo()))


def test_greyscale() -> None:
    grey = photo().convert("L")
    assert np.array_equal(array(open_image(grey)), np.repeat(array(grey)[:, :, None], 3, axis=2))
    assert np.array_equal(array(open_image(np.asarray(grey))), array(open_image(grey)))
    assert np.array_equal(array(open_image(np.asarray(grey)[:, :, None])), array(open_image(grey)))


def test_one_bit() -> None:
    image = open_image(Image.fromarray(np.array([[True, False]])))
    assert array(image)[0].tolist() == [[255] * 3, [0] * 3]
    assert np.array_equal(array(open_image(np.array([[True, False]]))), array(image))


def test_palette(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([1, 0])
    image.save(tmp_path / "palette.png")
    assert array(open_image(tmp_path / "palette.png"))[0].tolist() == [[200, 100, 50], [10, 20, 30]]


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([1, 0])
    image.save(tmp_path / "clear.gif", transparency=0)
    assert array(open_image(tmp_path / "clear.gif"))[0].tolist() == [[200, 100, 50], [255, 255, 255]]


@pytest.mark.parametrize("alpha", [0, 51, 255])
def test_transparency_is_composited_on_white(alpha: int) -> None:
    expected = [round(value * alpha / 255 + 255 * (1 - alpha / 255)) for value in (100, 0, 200)]
    pixels = np.full((2, 3, 4), (100, 0, 200, alpha), np.uint8)
    for source in (pixels, Image.fromarray(pixels)):
        assert np.abs(array(open_image(source)) - expected).max() <= 1
    grey = Image.fromarray(np.full((2, 3, 2), (100, alpha), np.uint8), "LA")
    assert np.abs(array(open_image(grey)) - expected[0]).max() <= 1


def test_sixteen_bit(tmp_path: Path) -> None:
    deep = np.array([[0, 257 * 10, 257 * 128, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(deep).save(tmp_path / "deep.tif")
    for source in (
        tmp_path / "deep.png",
        tmp_path / "deep.tif",
        deep,
        Image.fromarray(deep.astype(np.int32)),
    ):
        assert array(open_image(source))[0, :, 0].tolist() == [0, 10, 128, 255]


def test_values_beyond_sixteen_bit() -> None:
    with pytest.raises(ImageError, match=r"0\.\.65535.*70000"):
        open_image(Image.fromarray(np.array([[70000]], np.int32)))


def test_cmyk(tmp_path: Path) -> None:
    photo(64, 48).convert("CMYK").save(tmp_path / "print.jpg", quality=100)
    image = open_image(tmp_path / "print.jpg")
    assert image.mode == "RGB"
    assert np.abs(array(image) - array(photo(64, 48))).mean() < 4


def test_float_arrays() -> None:
    pixels = np.array([[0.0, 0.5, 1.0]], np.float32)
    assert array(open_image(pixels))[0, :, 0].tolist() == [0, 128, 255]
    assert array(open_image(Image.fromarray(pixels)))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("value", [-0.1, 1.5, 255.0, np.nan, np.inf])
def test_float_arrays_out_of_range(value: float) -> None:
    with pytest.raises(ImageError, match=r"0\.\.1"):
        open_image(np.full((2, 2, 3), value))


@pytest.mark.parametrize("shape", [(4,), (2, 2, 2), (2, 2, 5), (1, 4, 4, 3)])
def test_array_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"\(H, W, 3\)"):
        open_image(np.zeros(shape, np.uint8))


def test_channels_first_says_how_to_turn() -> None:
    with pytest.raises(ImageError, match=r"transpose\(1, 2, 0\)"):
        open_image(np.zeros((3, 8, 9), np.uint8))


def test_array_types() -> None:
    with pytest.raises(ImageError, match=r"uint8.*int64"):
        open_image(np.zeros((2, 2, 3), np.int64))
    with pytest.raises(ImageError, match="no pixels"):
        open_image(np.zeros((0, 4, 3), np.uint8))


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no image .*dog\.jpg \(looked in"):
        open_image(tmp_path / "dog.jpg")
    with pytest.raises(ImageError, match="download"):
        open_image("https://example.org/dog.jpg")
    with pytest.raises(ImageError, match="folder"):
        open_image(tmp_path)


def test_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    with pytest.raises(ImageError, match="empty"):
        open_image(tmp_path / "empty.jpg")


@pytest.mark.parametrize("ending", ["jpg", "png", "gif", "bmp", "webp"])
def test_truncated(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"cut.{ending}"
    Image.effect_noise((64, 64), 90).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=r"damaged or cut off|no picture"):
        open_image(path)


def test_no_picture(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("not a picture at all")
    with pytest.raises(ImageError, match="no picture that Pillow can read"):
        open_image(tmp_path / "notes.jpg")


def test_animated(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "green", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match=r"3 frames.*seek"):
        open_image(tmp_path / "moving.gif")
    with Image.open(tmp_path / "moving.gif") as moving:
        moving.seek(2)
        assert open_image(moving.copy()).getpixel((0, 0)) == (0, 0, 255)


def test_second_picture_of_a_phone_is_no_animation(tmp_path: Path) -> None:
    photo().save(tmp_path / "phone.mpo", save_all=True, append_images=[photo().convert("L").convert("RGB")])
    with Image.open(tmp_path / "phone.mpo") as image:
        assert image.n_frames == 2
    assert np.abs(array(open_image(tmp_path / "phone.mpo")) - array(photo())).mean() < 8


def test_one_pixel() -> None:
    assert open_image(np.full((1, 1, 3), 9, np.uint8)).size == (1, 1)


def test_decompression_bomb(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png(60_000, 60_000))
    with pytest.raises(ImageError, match=r"more pixels than is safe.*MAX_IMAGE_PIXELS"):
        open_image(tmp_path / "bomb.png")


@pytest.mark.parametrize("source", [None, 3, b"bytes", [[0]]])
def test_no_image(source: object) -> None:
    with pytest.raises(TypeError, match="path, a PIL image, an array or a tensor"):
        open_image(source)  # type: ignore[arg-type]
