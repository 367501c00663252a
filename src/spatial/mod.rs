//! The study of *where*: taking spatial information out of a network from a layer on.
//!
//! Fan, Xian, Losch, Schiele, "Analyzing the Dependency of ConvNets on Spatial Information", GCPR 2020.
//! A [`Plan`] says which information is removed, where and when; [`Plan::apply`] turns an
//! architecture into the network that lacks it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::models::{Architecture, Network, ShuffleSetting, TreatedPool, Treatment};
use crate::nn::{Layer, Scope};
use crate::ops::spatial_shuffle::Mode;
use crate::{Error, Result};

/// How spatial information is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Not at all: the baseline.
    None,
    /// The input of each treated convolution is shuffled (section 1.2).
    Shuffle,
    /// The map is averaged and the rest becomes fully connected (section 1.5).
    GapFc,
    /// The treated layers are left out.
    Truncate,
    /// The treated convolutions become 1×1.
    Conv1x1,
}

/// Which layers are treated, given a cut k.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    /// k and every later one: the paper's multi-layer regime.
    From,
    /// k alone: the single-layer regime.
    Only,
    /// k to `last`, both included.
    Band,
}

/// Whether the shuffle acts in training, in test, in both or in neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Training and test: the paper's choice.
    Both,
    /// Training only.
    Train,
    /// Test only.
    Test,
    /// Neither: the layers are placed and do nothing.
    Neither,
}

macro_rules! named {
    ($type:ident, $setting:literal, $($variant:ident = $name:literal),+) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($type::$variant => $name),+ })
            }
        }

        impl FromStr for $type {
            type Err = Error;

            fn from_str(name: &str) -> Result<Self> {
                match name {
                    $($name => Ok($type::$variant),)+
                    _ => Err(Error::setting($setting, name, concat!("expected one of", $(" ", $name),+))),
                }
            }
        }
    };
}
named!(
    Removal,
    "remove",
    None = "none",
    Shuffle = "shuffle",
    GapFc = "gap-fc",
    Truncate = "truncate",
    Conv1x1 = "conv1x1"
);
named!(
    Layers,
    "layers",
    From = "from",
    Only = "only",
    Band = "band"
);
named!(
    When,
    "when",
    Both = "both",
    Train = "train",
    Test = "test",
    Neither = "neither"
);
named!(
    Scope,
    "scope",
    PerBatch = "per-batch",
    PerSample = "per-sample",
    Fixed = "fixed"
);
named!(
    TreatedPool,
    "pool",
    Stride = "stride",
    Max = "max",
    Average = "average"
);

/// The cut that treats nothing: the baseline.
pub const BASELINE: u32 = 99;

/// The baseline's other name, from the networks whose layers have three digits.
const BASELINE_OF_DEEP: u32 = 999;

/// Whether a cut is a name of the baseline: 99 or 999.
pub fn is_baseline(cut: u32) -> bool {
    [BASELINE, BASELINE_OF_DEEP].contains(&cut)
}

/// Which spatial information is removed from a network, where and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// How.
    pub remove: Removal,
    /// First treated layer; [`BASELINE`] (or 999) treats none.
    pub cut: u32,
    /// Last treated layer of a [`Layers::Band`].
    pub last: Option<u32>,
    /// Which layers.
    pub layers: Layers,
    /// What a shuffle moves.
    pub mode: Mode,
    /// What a shuffle moves in test, where that differs from training.
    pub test_mode: Option<Mode>,
    /// When a shuffle acts.
    pub when: When,
    /// Who shares a permutation.
    pub scope: Scope,
    /// Whether permutations without fixed points are drawn.
    pub derange: bool,
    /// The pooling behind a treated unit; `None` is the authors' choice for the image size.
    pub pool: Option<TreatedPool>,
    /// Whether convolutions have a bias; `None` is the authors' choice: with GAP+FC only.
    pub conv_bias: Option<bool>,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            remove: Removal::None,
            cut: BASELINE,
            last: None,
            layers: Layers::From,
            mode: Mode::Shuffle,
            test_mode: None,
            when: When::Both,
            scope: Scope::PerBatch,
            derange: false,
            pool: None,
            conv_bias: None,
        }
    }
}

impl Plan {
    /// The network that lacks what the plan removes.
    ///
    /// # Errors
    /// [`Error::Setting`] for a cut the architecture does not have or settings that contradict each
    /// other; [`Error::Shape`] (with the layer) where a map is too small or a tile does not divide it.
    pub fn apply(&self, architecture: &Architecture) -> Result<Network> {
        let mut architecture = architecture.clone();
        architecture.treated_pool = self.pool.unwrap_or(architecture.treated_pool);
        architecture.conv_bias = self.conv_bias.unwrap_or(match self.remove {
            Removal::GapFc => architecture.conv_bias || architecture.gap_fc_bias,
            _ => architecture.conv_bias,
        });
        let treated = self.treated(&architecture)?;
        let treatment = self.treatment();
        let treatments: Vec<Treatment> = treated
            .iter()
            .map(|&yes| if yes { treatment } else { Treatment::Intact })
            .collect();
        let network = architecture.lower(&treatments)?;
        self.check_tiles(&network)?;
        Ok(network)
    }

    /// Share of the units that are treated: of VGG16's 13 convolutions, of ResNet50's stem and 16
    /// blocks.
    pub fn replaced_share(&self, architecture: &Architecture) -> Result<f64> {
        let treated = self.treated(architecture)?;
        Ok(treated.iter().filter(|&&t| t).count() as f64 / treated.len() as f64)
    }

    fn treatment(&self) -> Treatment {
        match self.remove {
            Removal::None => Treatment::Intact,
            Removal::GapFc => Treatment::GapFc,
            Removal::Truncate => Treatment::Removed,
            Removal::Conv1x1 => Treatment::Conv1x1,
            Removal::Shuffle => {
                let (train, test) = match self.when {
                    When::Both => (true, true),
                    When::Train => (true, false),
                    When::Test => (false, true),
                    When::Neither => (false, false),
                };
                Treatment::Shuffle(ShuffleSetting {
                    train: train.then_some(self.mode),
                    test: test.then_some(self.test_mode.unwrap_or(self.mode)),
                    scope: self.scope,
                    derange: self.derange,
                })
            }
        }
    }

    fn treated(&self, architecture: &Architecture) -> Result<Vec<bool>> {
        let units = &architecture.units;
        if is_baseline(self.cut) {
            return Ok(vec![false; units.len()]);
        }
        let place = |name: &str, index: u32| {
            let found = units.iter().position(|u| u.index == index && !u.fixed);
            found.ok_or_else(|| {
                let known: Vec<String> = architecture.cuts().iter().map(u32::to_string).collect();
                let why = format!(
                    "{} has the layers {}, and {BASELINE} for none",
                    architecture.name,
                    known.join(" ")
                );
                Error::setting(name, index, why)
            })
        };
        let first = place("cut", self.cut)?;
        if self.remove == Removal::None {
            return Ok(vec![false; units.len()]);
        }
        if self.last.is_some() && self.layers != Layers::Band {
            return Err(Error::setting(
                "last",
                self.last.unwrap_or(0),
                "it goes with --layers band",
            ));
        }
        let last = match self.layers {
            Layers::From => units.len() - 1,
            Layers::Only => first,
            Layers::Band => match self.last {
                Some(last) => place("last", last)?,
                None => {
                    return Err(Error::setting(
                        "layers",
                        "band",
                        "it needs --last, its last layer",
                    ));
                }
            },
        };
        if last < first {
            let why = format!("the band would end before it begins, at {}", self.cut);
            return Err(Error::setting("last", units[last].index, why));
        }
        if self.remove == Removal::Truncate && last + 1 < units.len() {
            return Err(Error::setting(
                "layers",
                self.layers,
                "truncation leaves out every layer from the cut on (use --layers from)",
            ));
        }
        Ok((0..units.len())
            .map(|i| (first..=last).contains(&i))
            .collect())
    }

    /// A tile must divide every map it is used on; said before training rather than at the first batch.
    fn check_tiles(&self, network: &Network) -> Result<()> {
        let mut refused = None;
        network.visit(|stage, layer, input| {
            let (Layer::Shuffle(shuffle), [h, w, _]) = (layer, input.dims()) else {
                return;
            };
            for mode in [shuffle.train, shuffle.test].into_iter().flatten() {
                if let Mode::Local(tile) = mode
                    && (h % tile != 0 || w % tile != 0)
                {
                    let why = format!(
                        "tiles of {tile}×{tile} do not divide the {h}×{w} map at layer {}",
                        stage.name
                    );
                    refused.get_or_insert(Error::setting("mode", mode, why));
                }
            }
        })?;
        refused.map_or(Ok(()), Err)
    }
}

impl Serialize for Mode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}
