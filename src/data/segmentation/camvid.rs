//! CamVid (Brostow, Shotton, Fauqueur, Cipolla 2008): 701 frames of drives through Cambridge.
//!
//! Two layouts are about. SegNet's holds 480×360 pictures and label numbers, 11 for void (255 is taken
//! too, as some copies have it). The original holds 960×720 pictures and labels in 32 colours, a few of
//! which are of no class: those are void.
//!
//! Copies differ in the order of the 11 classes, too; here it is SegNet's, in both layouts: [`ELEVEN`].

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::files::{self, Label, Labels};
use super::{Class, Fold, Scene, SceneSet, UNLABELLED};
use crate::{Error, Result};

/// The 11 classes in SegNet's order, with the colours they are drawn in.
pub const ELEVEN: [(&str, [u8; 3]); 11] = [
    ("Sky", [128, 128, 128]),
    ("Building", [128, 0, 0]),
    ("Pole", [192, 192, 128]),
    ("Road", [128, 64, 128]),
    ("Pavement", [0, 0, 192]),
    ("Tree", [128, 128, 0]),
    ("SignSymbol", [192, 128, 128]),
    ("Fence", [64, 64, 128]),
    ("Car", [64, 0, 128]),
    ("Pedestrian", [64, 64, 0]),
    ("Bicyclist", [0, 128, 192]),
];

/// The original's classes but Void: name, colour in the label pictures, and which of the 11 they are.
pub const THIRTY_ONE: [(&str, [u8; 3], u16); 31] = [
    ("Sky", [128, 128, 128], 0),
    ("Bridge", [0, 128, 64], 1),
    ("Building", [128, 0, 0], 1),
    ("Wall", [64, 192, 0], 1),
    ("Tunnel", [64, 0, 64], 1),
    ("Archway", [192, 0, 128], 1),
    ("Column_Pole", [192, 192, 128], 2),
    ("TrafficCone", [0, 0, 64], 2),
    ("Road", [128, 64, 128], 3),
    ("LaneMkgsDriv", [128, 0, 192], 3),
    ("LaneMkgsNonDriv", [192, 0, 64], 3),
    ("Sidewalk", [0, 0, 192], 4),
    ("ParkingBlock", [64, 192, 128], 4),
    ("RoadShoulder", [128, 128, 192], 4),
    ("Tree", [128, 128, 0], 5),
    ("VegetationMisc", [192, 192, 0], 5),
    ("SignSymbol", [192, 128, 128], 6),
    ("Misc_Text", [128, 128, 64], 6),
    ("TrafficLight", [0, 64, 64], 6),
    ("Fence", [64, 64, 128], 7),
    ("Car", [64, 0, 128], 8),
    ("SUVPickupTruck", [64, 128, 192], 8),
    ("Truck_Bus", [192, 128, 192], 8),
    ("Train", [192, 64, 128], 8),
    ("OtherMoving", [128, 64, 64], 8),
    ("Pedestrian", [64, 64, 0], 9),
    ("Child", [192, 128, 64], 9),
    ("CartLuggagePram", [64, 0, 192], 9),
    ("Animal", [64, 128, 64], 9),
    ("Bicyclist", [0, 128, 192], 10),
    ("MotorcycleScooter", [192, 0, 192], 10),
];

/// How the labels are written.
#[derive(Clone, Debug)]
enum Coding {
    Numbers(Box<[Option<u16>; 256]>),
    Colours(HashMap<[u8; 3], u16>),
}

/// A part of CamVid.
#[derive(Clone, Debug)]
pub struct CamVid {
    fold: Fold,
    classes: Vec<Class>,
    files: Vec<(PathBuf, PathBuf)>,
    coding: Coding,
}

/// Opens a part, in whichever layout `root` holds:
///
/// - SegNet's: `train.txt`, `val.txt`, `test.txt` with a picture and a label picture a line (of their
///   paths, folder and name count), and the folders they name, `train` and `trainannot` and so on;
/// - the original: `701_StillsRaw_full` and `LabeledApproved_full`, with lists of the same names, a frame
///   a line. The original has no lists; SegNet's do.
///
/// # Errors
/// A folder of neither layout, a list that is missing, empty or malformed, a picture or label picture
/// that is missing.
pub fn open(root: &Path, fold: Fold) -> Result<CamVid> {
    let list = root.join(format!("{fold}.txt"));
    let original = root.join("LabeledApproved_full");
    let named = |(name, colour): (&str, [u8; 3])| Class {
        name: name.to_owned(),
        colour,
    };
    let mut found = Vec::new();
    for (number, line) in files::lines(&list)? {
        let mut paths = line.split_whitespace();
        let malformed = |what| Error::file(&list, format!("line {number}: {what}"));
        let image = paths
            .next()
            .ok_or_else(|| malformed("expected a picture"))?;
        let (image, labels) = if original.is_dir() {
            let stem = Path::new(image)
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy();
            let image = root.join("701_StillsRaw_full").join(format!("{stem}.png"));
            (image, original.join(format!("{stem}_L.png")))
        } else {
            let labels = paths.next();
            let labels = labels.ok_or_else(|| malformed("expected a picture and its labels"))?;
            (root.join(tail(image)), root.join(tail(labels)))
        };
        for path in [&image, &labels] {
            if !path.is_file() {
                let what = format!("is missing, named in line {number} of {}", list.display());
                return Err(Error::file(path, what));
            }
        }
        found.push((image, labels));
    }
    if found.is_empty() {
        return Err(Error::file(list, "names no picture"));
    }
    let coding = match original.is_dir() {
        true => Coding::Colours(
            THIRTY_ONE
                .into_iter()
                .map(|(_, colour, class)| (colour, class))
                .collect(),
        ),
        false => Coding::Numbers(Box::new(files::dense_table(ELEVEN.len(), &[11, 255]))),
    };
    Ok(CamVid {
        fold,
        classes: ELEVEN.into_iter().map(named).collect(),
        files: found,
        coding,
    })
}

/// Folder and name of a path: lists name places on their authors' disks.
fn tail(path: &str) -> PathBuf {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    parts[parts.len().saturating_sub(2)..].iter().collect()
}

impl SceneSet for CamVid {
    fn name(&self) -> &str {
        "camvid"
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
        let size = Some((extent, image.as_path()));
        let classes = match &self.coding {
            Coding::Numbers(table) => {
                let label = files::lookup(table, "class of CamVid (0 to 10; 11 and 255 are void)");
                files::label_map(labels, Labels::Numbers, size, label)?
            }
            Coding::Colours(table) => files::label_map(labels, Labels::Colours, size, |label| {
                let class = match label {
                    Label::Colour(colour) => table.get(&colour).copied(),
                    Label::Number(_) => None,
                };
                Ok(class.unwrap_or(UNLABELLED))
            })?,
        };
        Ok(Scene {
            name: image
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            rgb,
            classes,
            parts: Vec::new(),
            materials: Vec::new(),
        })
    }
}
