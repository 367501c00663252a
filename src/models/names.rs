//! What torchvision and timm call the tensors of a network.
//!
//! Both number the layers of a VGG as they stand in its list (`features.0`, `features.3`, …) and the
//! blocks of a ResNet by stage (`layer3.0.conv2`). They differ in the head of a VGG. Their filters are
//! OIHW where ours are OHWI; what else is laid out differently says [`crate::train::pretrained`].

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::{Architecture, Block};
use crate::{Error, Result};

/// Whose names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// This crate's, filters as OHWI.
    Own,
    /// torchvision's.
    Torchvision,
    /// timm's.
    Timm,
}

impl Naming {
    /// All of them.
    pub const ALL: [Naming; 3] = [Naming::Own, Naming::Torchvision, Naming::Timm];
}

impl fmt::Display for Naming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Naming::Own => "whatwhere",
            Naming::Torchvision => "torchvision",
            Naming::Timm => "timm",
        })
    }
}

impl FromStr for Naming {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = Naming::ALL.into_iter().find(|n| n.to_string() == name);
        known.ok_or_else(|| {
            let why = "expected one of whatwhere torchvision timm";
            Error::setting("naming", name, why)
        })
    }
}

/// The names of an architecture's layers, ours to theirs.
pub struct Names {
    naming: Naming,
    layers: BTreeMap<String, String>,
}

impl Names {
    /// The names that `naming` has for the layers of `architecture`. What an intervention puts in
    /// their place (fully connected layers, say) has no name there.
    pub fn of(architecture: &Architecture, naming: Naming) -> Self {
        let mut layers = BTreeMap::new();
        let residual = |unit: &super::Unit| matches!(unit.block, Block::Bottleneck { .. });
        match architecture.units.iter().any(residual) {
            true => resnet(architecture, &mut layers),
            false => vgg(architecture, naming, &mut layers),
        }
        Names { naming, layers }
    }

    /// What `NAME.weight`, `NAME.bias`, … of ours is called there.
    pub fn tensor(&self, own: &str) -> Option<String> {
        if self.naming == Naming::Own {
            return Some(own.to_owned());
        }
        let (layer, part) = own.rsplit_once('.')?;
        Some(format!("{}.{part}", self.layers.get(layer)?))
    }
}

fn vgg(architecture: &Architecture, naming: Naming, layers: &mut BTreeMap<String, String>) {
    let mut at = 0;
    for unit in &architecture.units {
        let Block::Convolution { pool, .. } = unit.block else {
            continue;
        };
        layers.insert(format!("conv{}", unit.index), format!("features.{at}"));
        if architecture.batch_norm {
            at += 1;
            layers.insert(format!("bn{}", unit.index), format!("features.{at}"));
        }
        // The ReLU, the pooling and whatever comes next.
        at += 2 + pool.is_some() as usize;
    }
    let hidden = architecture.head.hidden.len();
    for index in 0..=hidden {
        let name = match naming {
            Naming::Timm if index == hidden => "head.fc".to_owned(),
            Naming::Timm => format!("pre_logits.fc{}", index + 1),
            // Each is followed by a ReLU and a dropout.
            _ => format!("classifier.{}", 3 * index),
        };
        layers.insert(format!("head{index}"), name);
    }
}

fn resnet(architecture: &Architecture, layers: &mut BTreeMap<String, String>) {
    let (mut stage, mut position) = (0, 0);
    for unit in &architecture.units {
        let index = unit.index;
        let Block::Bottleneck { project, .. } = unit.block else {
            layers.insert(format!("conv{index}"), "conv1".to_owned());
            layers.insert(format!("bn{index}"), "bn1".to_owned());
            continue;
        };
        // A stage begins with the block whose shortcut is projected.
        (stage, position) = match project {
            true => (stage + 1, 0),
            false => (stage, position + 1),
        };
        for (own, theirs) in [
            ("conv1", "conv1"),
            ("bn1", "bn1"),
            ("conv2", "conv2"),
            ("bn2", "bn2"),
            ("conv3", "conv3"),
            ("bn3", "bn3"),
            ("shortcut.conv", "downsample.0"),
            ("shortcut.bn", "downsample.1"),
        ] {
            let theirs = format!("layer{stage}.{position}.{theirs}");
            layers.insert(format!("block{index}.{own}"), theirs);
        }
    }
    layers.insert("head0".to_owned(), "fc".to_owned());
}

/// The model that a file of torchvision's or timm's holds, and its number of classes, by the names
/// and extents of its tensors.
pub fn recognise(tensors: &[(String, Vec<usize>)]) -> Option<(String, usize)> {
    let shape = |name: &str| {
        let found = tensors.iter().find(|(known, _)| known == name);
        found.map(|(_, shape)| shape.as_slice())
    };
    let count = |wanted: &dyn Fn(&str, &[usize]) -> bool| {
        let fitting = tensors.iter().filter(|(name, shape)| wanted(name, shape));
        fitting.count()
    };
    if let (Some(stem), Some(fc)) = (shape("conv1.weight"), shape("fc.weight")) {
        let blocks = count(&|name, _| name.starts_with("layer") && name.ends_with(".conv3.weight"));
        let depth = match blocks {
            16 => 50,
            50 => 152,
            _ => return None,
        };
        let stem = match stem.last() {
            Some(7) => "imagenet",
            _ => "cifar",
        };
        return Some((format!("resnet{depth}-{stem}"), *fc.first()?));
    }
    let convolutions = count(&|name, shape| name.starts_with("features.") && shape.len() == 4);
    let depth = match convolutions {
        8 => 11,
        10 => 13,
        13 => 16,
        16 => 19,
        _ => return None,
    };
    let norms = count(&|name, _| name.starts_with("features.") && name.ends_with("running_mean"));
    let variant = if norms > 0 {
        "bn-torchvision"
    } else {
        "torchvision"
    };
    let last = shape("classifier.6.weight").or(shape("head.fc.weight"))?;
    Some((format!("vgg{depth}-{variant}"), *last.first()?))
}
