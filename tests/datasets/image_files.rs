//! Decoding and scaling against PIL and torchvision (`scripts/golden/images.py`).

use std::fs;

use safetensors::SafeTensors;
use whatwhere::data::Window;
use whatwhere::data::image_file::{self, Kind};
use whatwhere::data::resize::{self, Filter};

fn file(name: &str) -> Vec<u8> {
    fs::read(super::golden("images").join(name)).unwrap()
}

/// The largest difference of two images in grey levels.
fn difference(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

/// PNG exactly. JPEG decoders may differ by one level in the inverse DCT and by rounding once more in
/// the interpolation of the colour planes and in the conversion to RGB, whose coefficients reach 1.772:
/// 1 in brightness and 2 · 1.772 in colour make 4; without subsampling 1 + 1.772 and a rounding make 3.
#[test]
fn files_of_every_kind_are_decoded_as_pil_decodes_them() {
    let golden = file("images.safetensors");
    let golden = SafeTensors::deserialize(&golden).unwrap();
    for (name, kind, bound) in [
        ("photo.jpg", Kind::Jpeg, 4),
        ("progressive.jpg", Kind::Jpeg, 3),
        ("grey.jpg", Kind::GreyJpeg, 1),
        ("cmyk.jpg", Kind::CmykJpeg, 3),
        ("pixel.jpg", Kind::Jpeg, 4),
        ("palette.png", Kind::Png, 0),
        ("transparent.png", Kind::Png, 0),
    ] {
        let image = image_file::decode(&file(name)).unwrap();
        let expected = golden.tensor(name).unwrap();
        assert_eq!([image.height, image.width, 3], expected.shape(), "{name}");
        assert_eq!(image.kind, kind, "{name}");
        let most = difference(&image.rgb, expected.data());
        assert!(most <= bound, "{name}: {most} levels");
    }
}

#[test]
fn what_is_no_whole_image_is_said_in_words() {
    let refused = |bytes: &[u8], part: &str| {
        let error = image_file::decode(bytes).err().unwrap_or_default();
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    };
    refused(b"", "nothing");
    refused(b"this is no picture\n", "text");
    refused(b"GIF89a....", "GIF");
    refused(b"RIFF\x10\0\0\0WEBPVP8 ", "WebP");
    refused(&[0, 200, 1, 255, 254], "no known format");
    for name in ["photo.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg"] {
        let whole = file(name);
        // Everywhere: in the header, between scans, and in each of them.
        for cut in (3..whole.len() - 40).step_by(23) {
            assert!(
                image_file::decode(&whole[..cut]).is_err(),
                "{name} cut at {cut}"
            );
        }
        refused(&whole[..whole.len() * 3 / 4], "JPEG");
        // Bytes behind the end do no harm.
        let longer = [whole.as_slice(), b"\r\n more"].concat();
        assert!(image_file::decode(&longer).is_ok(), "{name}");
    }
    let png = file("palette.png");
    for cut in (4..png.len() - 16).step_by(7) {
        refused(&png[..cut], "PNG");
    }
    // Noise behind a right beginning must not panic, whatever comes of it.
    for seed in 0..200u32 {
        let mut bytes = file("photo.jpg");
        for step in 0..8u32 {
            let at = (seed * 7919 + step * 104_729) as usize % bytes.len();
            bytes[at] ^= (seed * 31 + step * 17 + 1) as u8;
        }
        let _ = image_file::decode(&bytes);
    }
}

#[test]
fn scaling_is_torchvisions_within_a_level() {
    let golden = file("images.safetensors");
    let golden = SafeTensors::deserialize(&golden).unwrap();
    let noise = golden.tensor("noise").unwrap().data().to_vec();
    let extent = [47, 61];
    let mut seen = 0;
    for (name, expected) in golden.tensors() {
        let (kind, numbers) = name.split_once(' ').unwrap_or((&name, ""));
        let numbers: Vec<usize> = numbers.split(' ').filter_map(|n| n.parse().ok()).collect();
        let mut out = vec![0; expected.data().len()];
        match (kind, numbers.as_slice()) {
            ("window", &[top, left, height, width, size]) => {
                let window = Window {
                    top,
                    left,
                    height,
                    width,
                };
                let to = [size, size];
                resize::window(&noise, extent, window, Filter::Bilinear, &mut out, to).unwrap();
            }
            ("center", &[short, side]) => {
                resize::center(&noise, extent, short, side, &mut out).unwrap();
            }
            ("box", &[side]) => {
                let whole = Window::whole(extent);
                let to = [side, side];
                resize::window(&noise, extent, whole, Filter::Box, &mut out, to).unwrap();
            }
            _ => continue,
        }
        let most = difference(&out, expected.data());
        // Both round after each of the two passes, with weights of 8 to 14 bits behind the point.
        assert!(most <= 1, "{name}: {most} levels");
        seen += 1;
    }
    assert_eq!(seen, 9);
}

#[test]
fn windows_outside_the_image_are_refused() {
    let rgb = [0; 4 * 5 * 3];
    let mut out = [0; 12];
    let window = Window {
        top: 1,
        left: 1,
        height: 4,
        width: 2,
    };
    let whole = Window::whole([4, 5]);
    let empty = Window { height: 0, ..whole };
    for (window, extent) in [
        (window, [4, 5]),
        (empty, [4, 5]),
        (whole, [4, 4]),
        (whole, [5, 5]),
    ] {
        let result = resize::window(&rgb, extent, window, Filter::Bilinear, &mut out, [2, 2]);
        assert!(result.is_err(), "{window:?}");
    }
    let short = &mut out[..11];
    assert!(resize::window(&rgb, [4, 5], whole, Filter::Bilinear, short, [2, 2]).is_err());
    assert!(resize::center(&rgb, [4, 5], 2, 3, &mut out).is_err());
    assert!(resize::center(&rgb, [0, 5], 2, 2, &mut out).is_err());
}
