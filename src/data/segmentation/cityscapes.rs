//! Cityscapes (Cordts et al. 2016), as its archives unpack.
//!
//! Only `labelIds` pictures ship; they are turned into the 19 classes here, so nothing has to be
//! generated first.

use std::path::{Path, PathBuf};

use super::files::{self, Labels};
use super::{Class, Fold, Scene, SceneSet, UNLABELLED};
use crate::{Error, Result};

/// A label of the data set, whose number is its place in [`LABELS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// The class ("trainId"); `None` where it is neither learned nor evaluated.
    pub class: Option<usize>,
    /// The group it belongs to.
    pub category: &'static str,
    /// Its colour.
    pub colour: [u8; 3],
}

const fn label(
    name: &'static str,
    class: Option<usize>,
    category: &'static str,
    colour: [u8; 3],
) -> Label {
    Label {
        name,
        class,
        category,
        colour,
    }
}

/// The labels 0 to 33. (A license plate is -1 there: 255 in a picture.)
pub const LABELS: [Label; 34] = [
    label("unlabeled", None, "void", [0, 0, 0]),
    label("ego vehicle", None, "void", [0, 0, 0]),
    label("rectification border", None, "void", [0, 0, 0]),
    label("out of roi", None, "void", [0, 0, 0]),
    label("static", None, "void", [0, 0, 0]),
    label("dynamic", None, "void", [111, 74, 0]),
    label("ground", None, "void", [81, 0, 81]),
    label("road", Some(0), "flat", [128, 64, 128]),
    label("sidewalk", Some(1), "flat", [244, 35, 232]),
    label("parking", None, "flat", [250, 170, 160]),
    label("rail track", None, "flat", [230, 150, 140]),
    label("building", Some(2), "construction", [70, 70, 70]),
    label("wall", Some(3), "construction", [102, 102, 156]),
    label("fence", Some(4), "construction", [190, 153, 153]),
    label("guard rail", None, "construction", [180, 165, 180]),
    label("bridge", None, "construction", [150, 100, 100]),
    label("tunnel", None, "construction", [150, 120, 90]),
    label("pole", Some(5), "object", [153, 153, 153]),
    label("polegroup", None, "object", [153, 153, 153]),
    label("traffic light", Some(6), "object", [250, 170, 30]),
    label("traffic sign", Some(7), "object", [220, 220, 0]),
    label("vegetation", Some(8), "nature", [107, 142, 35]),
    label("terrain", Some(9), "nature", [152, 251, 152]),
    label("sky", Some(10), "sky", [70, 130, 180]),
    label("person", Some(11), "human", [220, 20, 60]),
    label("rider", Some(12), "human", [255, 0, 0]),
    label("car", Some(13), "vehicle", [0, 0, 142]),
    label("truck", Some(14), "vehicle", [0, 0, 70]),
    label("bus", Some(15), "vehicle", [0, 60, 100]),
    label("caravan", None, "vehicle", [0, 0, 90]),
    label("trailer", None, "vehicle", [0, 0, 110]),
    label("train", Some(16), "vehicle", [0, 80, 100]),
    label("motorcycle", Some(17), "vehicle", [0, 0, 230]),
    label("bicycle", Some(18), "vehicle", [119, 11, 32]),
];

/// What a number in a `labelIds` picture means; `None` for numbers that do not exist.
fn table() -> [Option<u16>; 256] {
    std::array::from_fn(|number| match LABELS.get(number) {
        Some(label) => Some(label.class.map_or(UNLABELLED, |class| class as u16)),
        None => (number == 255).then_some(UNLABELLED),
    })
}

/// A part of Cityscapes.
#[derive(Clone, Debug)]
pub struct Cityscapes {
    fold: Fold,
    classes: Vec<Class>,
    /// Picture and labels.
    files: Vec<(PathBuf, PathBuf)>,
    table: [Option<u16>; 256],
}

const IMAGE: &str = "_leftImg8bit.png";

/// Opens a part; `root` holds `leftImg8bit` and `gtFine`. Scenes are in the order of their file names,
/// city by city. The labels of the test part are void throughout.
///
/// # Errors
/// A folder that is missing or empty, an image without its labels.
pub fn open(root: &Path, fold: Fold) -> Result<Cityscapes> {
    let images = root.join("leftImg8bit").join(fold.to_string());
    let mut found = Vec::new();
    for city in files::files_ending(&images, "")?
        .into_iter()
        .filter(|path| path.is_dir())
    {
        let name = city.file_name().unwrap_or_default();
        let labels = root.join("gtFine").join(fold.to_string()).join(name);
        for image in files::files_ending(&city, IMAGE)? {
            let stem = image
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let frame = stem.trim_end_matches(IMAGE);
            let label = labels.join(format!("{frame}_gtFine_labelIds.png"));
            if !label.is_file() {
                let what = format!("is missing, the labels of {}", image.display());
                return Err(Error::file(label, what));
            }
            found.push((image, label));
        }
    }
    if found.is_empty() {
        let what = format!("holds no city with files *{IMAGE}");
        return Err(Error::file(images, what));
    }
    let mut classes: Vec<(usize, Class)> = Vec::new();
    for label in LABELS {
        let class = Class {
            name: label.name.to_owned(),
            colour: label.colour,
        };
        classes.extend(label.class.map(|number| (number, class)));
    }
    classes.sort_by_key(|(number, _)| *number);
    Ok(Cityscapes {
        fold,
        classes: classes.into_iter().map(|(_, class)| class).collect(),
        files: found,
        table: table(),
    })
}

impl SceneSet for Cityscapes {
    fn name(&self) -> &str {
        "cityscapes"
    }

    fn fold(&self) -> Fold {
        self.fold
    }

    fn len(&self) -> usize {
        self.files.len()
    }

    fn classes(&self) -> &[Class] {
        &self.classes
    }

    fn scene(&self, index: usize) -> Result<Scene> {
        let (image, labels) = &self.files[index];
        let (extent, rgb) = files::picture(image)?;
        let label = files::lookup(&self.table, "label of Cityscapes (0 to 33, 255)");
        let classes = files::label_map(labels, Labels::Numbers, Some((extent, image)), label)?;
        let name = image.file_name().unwrap_or_default().to_string_lossy();
        Ok(Scene {
            name: name.trim_end_matches(IMAGE).to_owned(),
            rgb,
            classes,
            parts: Vec::new(),
            materials: Vec::new(),
        })
    }
}
