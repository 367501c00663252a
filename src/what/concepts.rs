//! Concepts: the channels of a semantic bottleneck, and where a set of scenes shows them.
//!
//! A [`ConceptList`] is a text file, a concept a line; [`ConceptList::street`] is the one of 70 channels
//! this crate ships. [`ConceptList::bind`] finds its concepts in a set of scenes, and the [`Binding`]
//! turns a scene into what a channel should be at every pixel: 1, 0, or not known.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::data::segmentation::{NOTHING, Scene, SceneSet, UNLABELLED};
use crate::{Error, Result};

/// A concept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Concept {
    /// A part of an object, `car/wheel`.
    Part {
        /// The object it is a part of.
        object: String,
        /// The part.
        part: String,
    },
    /// A material.
    Material(String),
}

impl Concept {
    /// The object this is a part of, if it is one.
    pub fn parent(&self) -> Option<&str> {
        match self {
            Concept::Part { object, .. } => Some(object),
            Concept::Material(_) => None,
        }
    }
}

/// `car/wheel` or `glass`.
impl fmt::Display for Concept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Concept::Part { object, part } => write!(f, "{object}/{part}"),
            Concept::Material(name) => f.write_str(name),
        }
    }
}

/// The concepts of a bottleneck, in the order of its channels: parts first, then materials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConceptList {
    source: PathBuf,
    concepts: Vec<Concept>,
    /// What an object may be called instead.
    synonyms: Vec<(String, String)>,
}

/// A name as names are compared: lower case, hyphens and underscores as spaces.
fn plain(name: &str) -> String {
    let letters = name.trim().chars().map(|letter| match letter {
        '-' | '_' => ' ',
        letter => letter.to_ascii_lowercase(),
    });
    letters.collect()
}

impl ConceptList {
    /// The shipped list of 70: 59 parts and 11 materials of Broden+ that streets show.
    pub fn street() -> Self {
        let text = include_str!("street.concepts");
        ConceptList::parse(text, "street.concepts").expect("the tests read it")
    }

    /// Reads a list. The file says how it is written; `src/what/street.concepts` is an example.
    ///
    /// # Errors
    /// A file that cannot be read, and those of [`parse`](ConceptList::parse).
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path, "read"))?;
        ConceptList::parse(&text, path)
    }

    /// Reads a list from text; `source` is named in errors.
    ///
    /// # Errors
    /// With the line: an unknown word, a part without its object, a concept listed twice, a synonym of
    /// an object no part belongs to; a list without a concept.
    pub fn parse(text: &str, source: impl Into<PathBuf>) -> Result<Self> {
        let source = source.into();
        let (mut parts, mut materials, mut synonyms) = (Vec::new(), Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        for (number, line) in text
            .lines()
            .enumerate()
            .map(|(i, line)| (i + 1, line.trim()))
        {
            let refuse = |what: String| Error::file(&source, format!("line {number}: {what}"));
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let rest = rest.trim();
            let concept = match (word, rest.split_once('/'), rest.split_once('=')) {
                (_, _, _) if rest.is_empty() => {
                    return Err(refuse(format!("{line:?}, expected a word and a name")));
                }
                ("part", Some((object, part)), _) if !object.is_empty() && !part.is_empty() => {
                    Concept::Part {
                        object: object.to_owned(),
                        part: part.to_owned(),
                    }
                }
                ("part", ..) => {
                    return Err(refuse(format!("part {rest}, expected OBJECT/PART")));
                }
                ("material", ..) => Concept::Material(rest.to_owned()),
                ("object", _, Some((name, other))) => {
                    synonyms.push((number, plain(name), plain(other)));
                    continue;
                }
                _ => {
                    let what = format!("{line:?}, expected part, material or object NAME = OTHER");
                    return Err(refuse(what));
                }
            };
            if !seen.insert(plain(&concept.to_string())) {
                return Err(refuse(format!("{concept} is listed twice")));
            }
            match concept {
                Concept::Part { .. } => parts.push(concept),
                Concept::Material(_) => materials.push(concept),
            }
        }
        let objects: HashSet<String> = parts
            .iter()
            .filter_map(Concept::parent)
            .map(plain)
            .collect();
        if let Some((number, name, _)) =
            synonyms.iter().find(|(_, name, _)| !objects.contains(name))
        {
            let what = format!("line {number}: no part of {name} is listed");
            return Err(Error::file(&source, what));
        }
        let mut concepts = parts;
        concepts.append(&mut materials);
        if concepts.is_empty() {
            return Err(Error::file(&source, "lists no concept"));
        }
        Ok(ConceptList {
            source,
            concepts,
            synonyms: synonyms
                .into_iter()
                .map(|(_, name, other)| (name, other))
                .collect(),
        })
    }

    /// The concepts, in the order of the channels.
    pub fn concepts(&self) -> &[Concept] {
        &self.concepts
    }

    /// Number of channels.
    pub fn len(&self) -> usize {
        self.concepts.len()
    }

    /// Never: a list has at least one concept.
    pub fn is_empty(&self) -> bool {
        self.concepts.is_empty()
    }

    /// How many of the channels are parts; they come first.
    pub fn parts(&self) -> usize {
        self.concepts
            .iter()
            .filter(|concept| concept.parent().is_some())
            .count()
    }

    /// A list of some of the concepts, by name (`car/wheel`, `glass`), in this list's order.
    ///
    /// # Errors
    /// A name that is not listed; no name.
    pub fn select<S: AsRef<str>>(&self, names: &[S]) -> Result<Self> {
        let wanted: Vec<String> = names.iter().map(|name| plain(name.as_ref())).collect();
        let listed = |name: &String| self.concepts.iter().any(|c| plain(&c.to_string()) == *name);
        if let Some(name) = wanted.iter().find(|name| !listed(name)) {
            return Err(Error::file(&self.source, format!("{name} is not listed")));
        }
        if wanted.is_empty() {
            return Err(Error::file(&self.source, "no concept was selected"));
        }
        let keep = |concept: &&Concept| wanted.contains(&plain(&concept.to_string()));
        Ok(ConceptList {
            concepts: self.concepts.iter().filter(keep).cloned().collect(),
            ..self.clone()
        })
    }

    /// What an object may be called: its name, and its synonyms.
    fn called(&self, object: &str) -> Vec<String> {
        let object = plain(object);
        let others = self.synonyms.iter().filter(|(name, _)| *name == object);
        let others: Vec<String> = others.map(|(_, other)| other.clone()).collect();
        std::iter::once(object).chain(others).collect()
    }

    /// Where a set shows the concept: the index of its part or material, and its object's class.
    fn find(&self, concept: &Concept, set: &dyn SceneSet) -> Option<Target> {
        match concept {
            Concept::Material(name) => {
                let same = |known: &String| plain(known) == plain(name);
                set.materials().iter().position(same).map(Target::Material)
            }
            Concept::Part { object, part } => {
                let names = self.called(object);
                let part = names.iter().find_map(|object| {
                    let name = format!("{object}/{}", plain(part));
                    set.parts()
                        .iter()
                        .position(|known| plain(&known.name) == name)
                })?;
                let class =
                    |name: &String| set.classes().iter().position(|c| plain(&c.name) == *name);
                let parent = set.parts()[part]
                    .parent
                    .or_else(|| names.iter().find_map(class));
                Some(Target::Part { part, parent })
            }
        }
    }

    /// Finds all concepts in a set.
    ///
    /// # Errors
    /// [`Error::File`] with this list's file and every concept the set has not.
    pub fn bind(&self, set: &dyn SceneSet) -> Result<Binding> {
        let (_, missing) = self.shared(set);
        if !missing.is_empty() {
            let names: Vec<String> = missing.iter().map(Concept::to_string).collect();
            let what = format!(
                "{} has {} parts and {} materials, but not {}",
                set.name(),
                set.parts().len(),
                set.materials().len(),
                names.join(", ")
            );
            return Err(Error::file(&self.source, what));
        }
        let found = self
            .concepts
            .iter()
            .filter_map(|concept| self.find(concept, set));
        Ok(Binding {
            targets: found.collect(),
        })
    }

    /// The concepts a set has, as a list of their own (`None` if there is none), and those it has not.
    pub fn shared(&self, set: &dyn SceneSet) -> (Option<Self>, Vec<Concept>) {
        let has = |concept: &Concept| self.find(concept, set).is_some();
        let (found, missing): (Vec<_>, Vec<_>) = self.concepts.iter().cloned().partition(has);
        let objects: HashSet<String> = found
            .iter()
            .filter_map(Concept::parent)
            .map(plain)
            .collect();
        let synonyms = self
            .synonyms
            .iter()
            .filter(|(name, _)| objects.contains(name));
        let list = (!found.is_empty()).then(|| ConceptList {
            source: self.source.clone(),
            synonyms: synonyms.cloned().collect(),
            concepts: found,
        });
        (list, missing)
    }
}

/// The list as its file has it.
impl fmt::Display for ConceptList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, other) in &self.synonyms {
            writeln!(f, "object {name} = {other}")?;
        }
        for concept in &self.concepts {
            let word = if concept.parent().is_some() {
                "part"
            } else {
                "material"
            };
            writeln!(f, "{word} {concept}")?;
        }
        Ok(())
    }
}

/// Where a set of scenes shows a concept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A part of the set, and the class of the object it belongs to.
    Part {
        /// Index of the part.
        part: usize,
        /// Index of the class.
        parent: Option<usize>,
    },
    /// A material of the set.
    Material(usize),
}

/// What a pixel of another object says about a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Elsewhere {
    /// That it is not there: a road has no wheels. Channels become independent detectors.
    #[default]
    Negative,
    /// Nothing: a part is judged inside its parent object only.
    Unknown,
}

impl FromStr for Elsewhere {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "negative" => Ok(Elsewhere::Negative),
            "unknown" => Ok(Elsewhere::Unknown),
            _ => Err(Error::setting(
                "elsewhere",
                name,
                "expected negative or unknown",
            )),
        }
    }
}

/// What the channels should be, NHWC: height × width × channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Targets {
    /// 1 where the concept is, 0 elsewhere.
    pub values: Vec<f32>,
    /// 1 where that is known, 0 elsewhere.
    pub known: Vec<f32>,
}

/// A list of concepts, found in a set of scenes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    targets: Vec<Target>,
}

impl Binding {
    /// Where the set shows each concept, in the order of the channels.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// What every channel should be on a map of `to` (height, width), each cell taking what its centre
    /// falls on.
    ///
    /// | concept | 1 | 0 | not known |
    /// | --- | --- | --- | --- |
    /// | material | labelled so | labelled otherwise, or judged to show none | not labelled |
    /// | part | labelled so | another part or none, judged; or, with [`Elsewhere::Negative`], on an object it does not belong to | otherwise |
    pub fn of(&self, scene: &Scene, to: [usize; 2], elsewhere: Elsewhere) -> Targets {
        let [classes, parts, materials] = [
            std::slice::from_ref(&scene.classes),
            &scene.parts,
            &scene.materials,
        ]
        .map(|layers| {
            layers
                .iter()
                .map(|layer| layer.nearest(to))
                .collect::<Vec<_>>()
        });
        let mut targets = Targets {
            values: Vec::new(),
            known: Vec::new(),
        };
        for cell in 0..to[0] * to[1] {
            let class = classes[0].ids()[cell];
            let (parts, materials) = (Seen::at(&parts, cell), Seen::at(&materials, cell));
            for target in &self.targets {
                let value = match *target {
                    Target::Material(material) => materials.shows(material),
                    Target::Part { part, parent } => match parts.shows(part) {
                        Some(false) | None if class != UNLABELLED && parent.is_some() => {
                            match (parent == Some(usize::from(class)), elsewhere) {
                                (true, _) => parts.shows(part),
                                (false, Elsewhere::Negative) => Some(false),
                                (false, Elsewhere::Unknown) => None,
                            }
                        }
                        shown => shown,
                    },
                };
                targets.values.push(f32::from(value == Some(true)));
                targets.known.push(f32::from(value.is_some()));
            }
        }
        targets
    }
}

/// The labels of all layers at one place.
struct Seen<'a> {
    layers: &'a [crate::data::segmentation::LabelMap],
    cell: usize,
    judged: bool,
}

impl<'a> Seen<'a> {
    fn at(layers: &'a [crate::data::segmentation::LabelMap], cell: usize) -> Self {
        let judged = layers.iter().any(|layer| layer.ids()[cell] != UNLABELLED);
        Seen {
            layers,
            cell,
            judged,
        }
    }

    /// Whether label `index` is there; `None` where nobody judged.
    fn shows(&self, index: usize) -> Option<bool> {
        let is = |id: u16| id < NOTHING && usize::from(id) == index;
        self.judged
            .then(|| self.layers.iter().any(|layer| is(layer.ids()[self.cell])))
    }
}

#[cfg(test)]
mod tests;
