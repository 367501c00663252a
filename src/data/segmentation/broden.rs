//! Directories in the layout of Broden (Bau, Zhou, Khosla, Oliva, Torralba 2017): objects, parts and
//! materials of pictures from several sources.
//!
//! `index.csv` has a picture a row, relative to `images/`, with a cell for each category: empty, or
//! items separated by `;`, the dominant one first. An item of digits is the label of the whole picture;
//! any other is a label picture, whose label is R + 256·G. `c_object.csv`, `c_part.csv` and
//! `c_material.csv` list the labels of a category. Columns are found by name.
//!
//! Label 0 means that nobody labelled the pixel. Label pictures may be smaller than the picture (half
//! the side in Broden); they are scaled up to it, to the nearest label.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::files::{self, Labels, Table};
use super::{Class, Fold, LabelMap, Part, Scene, SceneSet, UNLABELLED, preview};
use crate::{Error, Result};

/// What a cell says.
#[derive(Clone, Debug)]
enum Item {
    /// This label everywhere.
    Whole(u16),
    /// A label picture.
    Picture(PathBuf),
}

/// The labels of a category.
#[derive(Clone, Debug)]
struct Category {
    name: &'static str,
    /// Place in the list of each label, by its number.
    places: HashMap<usize, u16>,
    names: Vec<String>,
}

#[derive(Clone, Debug)]
struct Row {
    image: PathBuf,
    name: String,
    size: [usize; 2],
    labels: [usize; 2],
    /// In the order of [`CATEGORIES`].
    cells: [Vec<Item>; 3],
}

const CATEGORIES: [&str; 3] = ["object", "part", "material"];

/// A part of a directory in Broden's layout.
#[derive(Clone, Debug)]
pub struct Broden {
    fold: Fold,
    classes: Vec<Class>,
    parts: Vec<Part>,
    categories: [Category; 3],
    rows: Vec<Row>,
}

/// Opens `train` or `val` of the directory `root`. Objects become classes; a part belongs to the object
/// it is named by, if it is (`car/wheel`).
///
/// # Errors
/// A table that is missing, lacks a column or holds what is no number; a picture or label picture that is
/// missing (with the line that names it); a part of the set that does not exist or is empty.
pub fn open(root: &Path, fold: Fold) -> Result<Broden> {
    let categories = [
        category(root, CATEGORIES[0])?,
        category(root, CATEGORIES[1])?,
        category(root, CATEGORIES[2])?,
    ];
    let path = root.join("index.csv");
    let index = Table::read(&path)?;
    let [image, split, ih, iw, sh, sw] =
        ["image", "split", "ih", "iw", "sh", "sw"].map(|name| index.column(name));
    let (image, split, sizes) = (image?, split?, [ih?, iw?, sh?, sw?]);
    let cells = [
        index.column(CATEGORIES[0])?,
        index.column(CATEGORIES[1])?,
        index.column(CATEGORIES[2])?,
    ];
    let mut rows = Vec::new();
    for (line, row) in index
        .rows()
        .filter(|(_, row)| row[split] == fold.to_string())
    {
        let mut numbers = [0; 4];
        for (number, column) in numbers.iter_mut().zip(sizes) {
            *number = index.number(line, &row[column])?;
        }
        let present = |name: &str| {
            let file = root.join("images").join(name);
            match file.is_file() {
                true => Ok(file),
                false => {
                    let what = format!("is missing, named in line {line} of {}", path.display());
                    Err(Error::file(&file, what))
                }
            }
        };
        let mut items: [Vec<Item>; 3] = Default::default();
        for ((items, column), category) in items.iter_mut().zip(cells).zip(&categories) {
            for item in row[column]
                .split(';')
                .map(str::trim)
                .filter(|item| !item.is_empty())
            {
                items.push(match item.bytes().all(|byte| byte.is_ascii_digit()) {
                    false => Item::Picture(present(item)?),
                    true => {
                        let number = index.number(line, item)?;
                        let label = category.label(number);
                        let refuse = |what| Error::file(&path, format!("line {line}: {what}"));
                        Item::Whole(label.map_err(refuse)?)
                    }
                });
            }
        }
        let [ih, iw, sh, sw] = numbers;
        rows.push(Row {
            image: present(&row[image])?,
            name: row[image].clone(),
            size: [ih, iw],
            labels: [sh, sw],
            cells: items,
        });
    }
    if rows.is_empty() {
        return Err(Error::file(
            &path,
            format!("no row of split {fold}; Broden has train and val"),
        ));
    }
    let objects = &categories[0].names;
    let classes = objects.iter().enumerate().map(|(place, name)| Class {
        name: name.clone(),
        colour: preview::concept_colour(place),
    });
    let parts = categories[1].names.iter().map(|name| Part {
        name: name.clone(),
        parent: name
            .split_once('/')
            .and_then(|(object, _)| objects.iter().position(|known| known == object)),
    });
    Ok(Broden {
        fold,
        classes: classes.collect(),
        parts: parts.collect(),
        categories,
        rows,
    })
}

fn category(root: &Path, name: &'static str) -> Result<Category> {
    let path = root.join(format!("c_{name}.csv"));
    let table = Table::read(&path)?;
    let (code, number, label) = (
        table.column("code")?,
        table.column("number")?,
        table.column("name")?,
    );
    let (mut places, mut names) = (HashMap::new(), Vec::new());
    for (line, row) in table.rows() {
        let code = table.number(line, &row[code])?;
        if code != names.len() + 1 {
            let what = format!("line {line}: code {code}, expected {}", names.len() + 1);
            return Err(Error::file(&path, what));
        }
        places.insert(table.number(line, &row[number])?, names.len() as u16);
        names.push(row[label].clone());
    }
    Ok(Category {
        name,
        places,
        names,
    })
}

impl Category {
    /// The place of label `number`; 0 is nobody's.
    fn label(&self, number: usize) -> Result<u16, String> {
        if number == 0 {
            return Ok(UNLABELLED);
        }
        let known = self.places.get(&number).copied();
        known.ok_or_else(|| format!("label {number} is no {} of c_{}.csv", self.name, self.name))
    }
}

impl Row {
    /// The layers of a category at the size of the picture.
    fn layers(&self, category: &Category, items: &[Item]) -> Result<Vec<LabelMap>> {
        let layer = |item: &Item| match item {
            Item::Whole(label) => Ok(LabelMap::filled(self.size, *label)),
            Item::Picture(path) => {
                let map = files::label_map(path, Labels::Colours, None, |label| match label {
                    files::Label::Colour([r, g, _]) => {
                        category.label(usize::from(r) + 256 * usize::from(g))
                    }
                    files::Label::Number(number) => category.label(usize::from(number)),
                })?;
                if map.extent() != self.labels {
                    let ([h, w], [sh, sw]) = (map.extent(), self.labels);
                    let what = format!(
                        "{h}×{w} labels, but index.csv says {sh}×{sw} for {}",
                        self.name
                    );
                    return Err(Error::file(path, what));
                }
                Ok(map.nearest(self.size))
            }
        };
        items.iter().map(layer).collect()
    }
}

impl SceneSet for Broden {
    fn name(&self) -> &str {
        "broden"
    }

    fn fold(&self) -> Fold {
        self.fold
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn classes(&self) -> &[Class] {
        &self.classes
    }

    fn parts(&self) -> &[Part] {
        &self.parts
    }

    fn materials(&self) -> &[String] {
        &self.categories[2].names
    }

    fn scene(&self, index: usize) -> Result<Scene> {
        let row = &self.rows[index];
        let (extent, rgb) = files::picture(&row.image)?;
        if extent != row.size {
            let ([h, w], [ih, iw]) = (extent, row.size);
            let what = format!("{h}×{w} pixels, but index.csv says {ih}×{iw}");
            return Err(Error::file(&row.image, what));
        }
        let layers = |which: usize| row.layers(&self.categories[which], &row.cells[which]);
        // The dominant object counts; another one only where that says nothing.
        let mut ids = vec![UNLABELLED; extent[0] * extent[1]];
        for layer in layers(0)? {
            let free = ids
                .iter_mut()
                .zip(layer.ids())
                .filter(|(id, _)| **id == UNLABELLED);
            free.for_each(|(id, below)| *id = *below);
        }
        Ok(Scene {
            name: row.name.clone(),
            rgb,
            classes: LabelMap::new(extent, ids)?,
            parts: layers(1)?,
            materials: layers(2)?,
        })
    }
}
