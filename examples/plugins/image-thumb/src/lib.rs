//! `image-thumb`: a small picture of a large one; PNG or JPEG in, PNG or JPEG out.
//!
//! A picture is hostile until decoded: its dimensions and the memory that decoding takes are bounded before anything is
//! reserved for them, so that a small file cannot ask for a large memory.

use std::io::Write;

use bivium_guest::serde_json::{Value, json};
use bivium_guest::{Blob, Call, Empty, Error, Plugin, Result};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::error::ImageError;
use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, Rgb, RgbImage};
use serde::{Deserialize, Serialize};

/// Pixels on a side of what is accepted.
const LARGEST_SIDE: u32 = 20_000;
/// Bytes that decoding may take; the manifest's memory limit leaves room for the copy that turning makes.
const DECODING: u64 = 192 << 20;
const LARGEST_THUMBNAIL: u32 = 4_096;
const JPEG_QUALITY: u8 = 85;

struct ImageThumb;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    image: Blob,
    /// Pixels on the longer side. A smaller picture stays as it is.
    #[serde(default = "max_side")]
    max_side: u32,
    /// None: PNG for a PNG, JPEG for a JPEG.
    #[serde(default)]
    format: Option<Format>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Format {
    Png,
    Jpeg,
}

fn max_side() -> u32 {
    128
}

#[derive(Serialize, Deserialize)]
struct Output {
    thumbnail: Blob,
    width: u32,
    height: u32,
    source_width: u32,
    source_height: u32,
}

impl Plugin for ImageThumb {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "Makes a thumbnail of a PNG or JPEG picture.";
    type Config = Empty;
    type Input = Input;
    type Output = Output;

    fn output_schema() -> Value {
        bivium_guest::schema_of::<Output>()
    }

    fn config_schema() -> Value {
        json!({"type": "object", "additionalProperties": false})
    }

    fn new(_: Empty) -> Result<Self> {
        Ok(Self)
    }

    fn execute(&mut self, call: &Call, input: Input) -> Result<Output> {
        if !(1..=LARGEST_THUMBNAIL).contains(&input.max_side) {
            return Err(Error::invalid_input(format!("max_side must be from 1 to {LARGEST_THUMBNAIL}")));
        }
        call.progress(0.0, "decoding");
        let (picture, source_format) = decode(&input.image)?;
        call.check()?;
        call.progress(0.6, "scaling");
        let (source_width, source_height, side) = (picture.width(), picture.height(), input.max_side);
        let small = if source_width.max(source_height) > side {
            picture.resize(side, side, FilterType::Triangle)
        } else {
            picture
        };
        call.check()?;
        call.progress(0.9, "encoding");
        let thumbnail = encode(&small, input.format.unwrap_or(source_format))?;
        Ok(Output { thumbnail, width: small.width(), height: small.height(), source_width, source_height })
    }
}

/// The picture, upright.
fn decode(blob: &Blob) -> Result<(DynamicImage, Format)> {
    let mut reader = ImageReader::new(blob.reader()).with_guessed_format()?;
    let format = match reader.format() {
        Some(ImageFormat::Png) => Format::Png,
        Some(ImageFormat::Jpeg) => Format::Jpeg,
        _ => return Err(Error::invalid_input("the image is neither PNG nor JPEG; convert it first")),
    };
    let mut limits = Limits::default();
    limits.max_image_width = Some(LARGEST_SIDE);
    limits.max_image_height = Some(LARGEST_SIDE);
    limits.max_alloc = Some(DECODING);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(refuse)?;
    limits.reserve(decoder.total_bytes()).and_then(|()| decoder.set_limits(limits)).map_err(refuse)?;
    // How the camera was held. What cannot be read of it leaves the picture as it is.
    let orientation = decoder.orientation().ok();
    let mut picture = DynamicImage::from_decoder(decoder).map_err(refuse)?;
    if let Some(orientation) = orientation {
        picture.apply_orientation(orientation);
    }
    Ok((picture, format))
}

/// What is wrong with the picture is the caller's; what went wrong in reading it is not.
fn refuse(error: ImageError) -> Error {
    match error {
        ImageError::IoError(io) if io.kind() == std::io::ErrorKind::Other => Error::from(io),
        ImageError::Limits(limits) => Error::invalid_input(format!(
            "the image is too large: {limits}; at most {LARGEST_SIDE} pixels on a side and {} MiB decoded are accepted",
            DECODING >> 20
        )),
        other => Error::invalid_input(format!("the image cannot be decoded: {other}")),
    }
}

fn encode(picture: &DynamicImage, format: Format) -> Result<Blob> {
    let mut out = Blob::create(match format {
        Format::Png => "image/png",
        Format::Jpeg => "image/jpeg",
    });
    match format {
        Format::Png => picture.write_with_encoder(PngEncoder::new(&mut out))?,
        Format::Jpeg => on_white(picture).write_with_encoder(JpegEncoder::new_with_quality(&mut out, JPEG_QUALITY))?,
    }
    out.flush()?;
    out.finish()
}

/// JPEG knows no transparency.
fn on_white(picture: &DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.to_rgb8();
    }
    let picture = picture.to_rgba8();
    let mut flat = RgbImage::new(picture.width(), picture.height());
    for (to, from) in flat.pixels_mut().zip(picture.pixels()) {
        let [red, green, blue, alpha] = from.0.map(u32::from);
        let over = |colour: u32| ((colour * alpha + 255 * (255 - alpha)) / 255) as u8;
        *to = Rgb([over(red), over(green), over(blue)]);
    }
    flat
}

bivium_guest::export!(ImageThumb);

#[cfg(test)]
mod tests {
    use bivium_guest::testing::Harness;
    use image::{Rgba, RgbaImage};

    use super::*;

    fn picture(width: u32, height: u32, format: Format) -> Blob {
        let pixel = |x, _| if x < width / 2 { Rgba([255, 0, 0, 255]) } else { Rgba([0, 0, 255, 0]) };
        encode(&DynamicImage::from(RgbaImage::from_fn(width, height, pixel)), format).unwrap()
    }

    fn run(arguments: &Value, blob: Blob) -> Result<(Value, Vec<Blob>)> {
        Harness::<ImageThumb>::new(&json!({})).unwrap().execute(arguments, &[blob])
    }

    #[test]
    fn keeps_the_shape_and_either_format() {
        for (from, to, expected) in [
            (Format::Png, json!(null), "image/png"),
            (Format::Jpeg, json!(null), "image/jpeg"),
            (Format::Png, json!("jpeg"), "image/jpeg"),
            (Format::Jpeg, json!("png"), "image/png"),
        ] {
            let arguments = json!({"image": {"$blob": 0}, "max_side": 60, "format": to});
            let (result, blobs) = run(&arguments, picture(300, 200, from)).unwrap();
            let wanted = json!({"thumbnail": {"$blob": 0}, "width": 60, "height": 40, "source_width": 300, "source_height": 200});
            assert_eq!(result, wanted);
            assert_eq!(blobs[0].media_type(), expected);
            let (small, _) = decode(&blobs[0]).unwrap();
            assert_eq!((small.width(), small.height()), (60, 40));
            let left = small.to_rgb8().get_pixel(10, 20).0;
            assert!(left[0] > 200 && left[2] < 60, "{left:?}");
            if expected == "image/jpeg" {
                let right = small.to_rgb8().get_pixel(50, 20).0;
                assert!(right.iter().all(|value| *value > 230), "transparency becomes white: {right:?}");
            }
        }
    }

    #[test]
    fn a_small_picture_is_not_enlarged() {
        let (result, _) = run(&json!([{"$blob": 0}]), picture(30, 20, Format::Png)).unwrap();
        assert_eq!((&result["width"], &result["height"]), (&json!(30), &json!(20)));
    }

    #[test]
    fn hostile_pictures_are_refused() {
        let good = picture(64, 64, Format::Png).bytes(1 << 20).unwrap();
        let huge = |width: u32, height: u32| {
            let mut png = good.clone();
            png[16..20].copy_from_slice(&width.to_be_bytes());
            png[20..24].copy_from_slice(&height.to_be_bytes());
            let sum = crc(&png[12..29]);
            png[29..33].copy_from_slice(&sum.to_be_bytes());
            png
        };
        for (bytes, words) in [
            (Vec::new(), "neither PNG nor JPEG"),
            (b"GIF89a and more".to_vec(), "neither PNG nor JPEG"),
            (good[..good.len() / 2].to_vec(), "cannot be decoded"),
            (good[..20].to_vec(), "cannot be decoded"),
            (huge(100_000, 10), "too large"),
            (huge(20_000, 20_000), "too large"),
            (huge(0, 64), "cannot be decoded"),
        ] {
            let blob = Blob::from_bytes("image/png", &bytes).unwrap();
            let error = run(&json!({"image": {"$blob": 0}}), blob).map(|(result, _)| result).unwrap_err();
            assert!(error.code() == "invalid-input" && error.message().contains(words), "{words}: {error}");
        }
        let error = run(&json!({"image": {"$blob": 0}, "max_side": 0}), picture(4, 4, Format::Png)).unwrap_err();
        assert_eq!(error.code(), "invalid-input");
    }

    /// CRC-32, as PNG chunks have it.
    fn crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
        })
    }
}
