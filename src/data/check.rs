//! What is wrong with a data set on disk: everything, not the first fault only.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::cifar::Cifar;
use super::folder::{FolderSet, Layout};
use super::open::{Source, open_folder};
use super::pack::{self, Pack};
use super::{Dataset, Normalise, OpenOptions, Split, open, small_imagenet};
use crate::{Error, Result};

/// Kinds of faults, the gravest first: what cannot be opened, a file that cannot be decoded, wrong
/// extents, wrong numbers of images, wrong sums.
pub const KINDS: [&str; 5] = ["layout", "file", "size", "count", "sum"];

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The split it is in.
    pub split: Split,
    /// What kind of fault, one of [`KINDS`].
    pub kind: &'static str,
    /// The file, folder or class.
    pub place: String,
    /// What is wrong, in words.
    pub what: String,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What there is, a line each.
    pub facts: Vec<String>,
    /// What is wrong, the gravest kinds first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The findings as a table, at most `rows` of them.
    pub fn table(&self, rows: usize) -> String {
        let cells = |f: &Finding| {
            [
                f.split.to_string(),
                f.kind.to_owned(),
                f.place.clone(),
                f.what.clone(),
            ]
        };
        let head = ["split", "kind", "where", "what"].map(str::to_owned);
        let lines: Vec<[String; 4]> = std::iter::once(head)
            .chain(self.findings.iter().take(rows).map(cells))
            .collect();
        let width = |column: usize| lines.iter().map(|l| l[column].chars().count()).max();
        let widths = [0, 1, 2].map(|column| width(column).unwrap_or(0));
        let mut text = String::new();
        for [split, kind, place, what] in &lines {
            let [a, b, c] = widths;
            text += &format!("{split:<a$}  {kind:<b$}  {place:<c$}  {what}\n");
        }
        if self.findings.len() > rows {
            text += &format!("… and {} more\n", self.findings.len() - rows);
        }
        text
    }
}

/// Opens both splits of a data set and looks at every image.
///
/// # Errors
/// An unknown name, no folder given. What is wrong with the files is in the report.
pub fn check(name: &str, options: &OpenOptions) -> Result<Report> {
    let mut report = Report::default();
    let (source, root) = Source::of(name, options)?;
    if root.is_none() && !matches!(source, Source::Generated(_)) {
        open(name, Split::Train, options)?;
    }
    let root = root.unwrap_or_default();
    let folder = match source {
        Source::Folder(_, layout, _) => Some(layout),
        Source::Small(_) if !small_imagenet::is_here(&root) => Some(Layout::Any),
        _ => None,
    };
    for split in [Split::Train, Split::Test] {
        let mut look = Look {
            split,
            report: &mut report,
        };
        let partial = OpenOptions {
            allow_partial: true,
            skip_damaged: false,
            ..options.clone()
        };
        if let Some(layout) = folder {
            let strict = OpenOptions {
                skip_damaged: false,
                ..options.clone()
            };
            let set = look.tolerant(
                || open_folder(name, split, &root, &strict),
                || open_folder(name, split, &root, &partial),
            );
            if let Some(set) = set {
                look.folder(&set, layout)?;
            }
            continue;
        }
        match source {
            Source::Small(side) => {
                let load = |partial| small_imagenet::load(&root, side, split, partial);
                let set = look.tolerant(|| load(options.allow_partial), || load(true));
                if let Some(set) = set {
                    look.facts(&set)?;
                    look.small_imagenet(&set, &root.display().to_string());
                }
            }
            Source::Pack => {
                let path = root.join(pack::file_name(split));
                let open = || Pack::open(&path, options.size);
                if let Some(pack) = look.tolerant(open, open) {
                    look.facts(&pack)?;
                    if let Err(what) = pack.verify() {
                        look.add("sum", path.display().to_string(), what);
                    }
                }
            }
            _ => {
                let set = look.tolerant(
                    || open(name, split, options),
                    || open(name, split, &partial),
                );
                if let Some(set) = set {
                    look.facts(set.as_ref())?;
                    if let Source::Cifar(which) = source {
                        look.cifar(set.as_ref(), which)?;
                    }
                }
            }
        }
    }
    let rank = |f: &Finding| KINDS.iter().position(|&kind| kind == f.kind);
    report.findings.sort_by_key(rank);
    Ok(report)
}

/// One split being looked at.
struct Look<'a> {
    split: Split,
    report: &'a mut Report,
}

impl Look<'_> {
    fn add(&mut self, kind: &'static str, place: impl Into<String>, what: impl Into<String>) {
        self.report.findings.push(Finding {
            split: self.split,
            kind,
            place: place.into(),
            what: what.into(),
        });
    }

    /// What `strict` opens, or, with its complaint noted, what `partial` does.
    fn tolerant<T>(
        &mut self,
        strict: impl Fn() -> Result<T>,
        partial: impl Fn() -> Result<T>,
    ) -> Option<T> {
        let error = match strict() {
            Ok(set) => return Some(set),
            Err(error) => error,
        };
        let first = error.to_string();
        self.fault(error);
        match partial() {
            Ok(set) => Some(set),
            Err(error) if error.to_string() == first => None,
            Err(error) => {
                self.fault(error);
                None
            }
        }
    }

    fn fault(&mut self, error: Error) {
        match error {
            Error::File { path, what } => self.add("layout", path.display().to_string(), what),
            other => self.add("layout", "", other.to_string()),
        }
    }

    /// The line that says what there is.
    fn facts(&mut self, set: &dyn Dataset) -> Result<Vec<usize>> {
        let mut counts = vec![0; set.classes().len()];
        (0..set.len()).for_each(|i| counts[set.label(i) as usize] += 1);
        let [h, w, c] = set.shape();
        self.report.facts.push(format!(
            "{} {}: {} images of {h}×{w}×{c}, {} classes of {} to {} images, SHA-256 {}",
            set.name(),
            self.split,
            set.len(),
            counts.len(),
            counts.iter().min().unwrap_or(&0),
            counts.iter().max().unwrap_or(&0),
            set.sha256()?
        ));
        Ok(counts)
    }

    /// Every class has the same number of images.
    fn equal(&mut self, set: &dyn Dataset, counts: &[usize], each: usize) {
        for (name, &count) in set.classes().iter().zip(counts) {
            if count != each {
                self.add("count", name, format!("{count} images, expected {each}"));
            }
        }
    }

    fn cifar(&mut self, set: &dyn Dataset, which: Cifar) -> Result<()> {
        let total = if self.split == Split::Train {
            50_000
        } else {
            10_000
        };
        let mut counts = vec![0; set.classes().len()];
        (0..set.len()).for_each(|i| counts[set.label(i) as usize] += 1);
        self.equal(set, &counts, total / which.classes());
        let known = match which {
            Cifar::Ten => Normalise::CIFAR,
            Cifar::Hundred | Cifar::HundredCoarse => Normalise::CIFAR100,
        };
        if self.split == Split::Train {
            let means = channel_means(set)?;
            // The constants are rounded to four or five digits; a single class missing moves a mean by
            // more than the last of them.
            for ((mean, known), colour) in
                means.iter().zip(known.mean).zip(["red", "green", "blue"])
            {
                if (mean - f64::from(known)).abs() > 1e-4 {
                    let what = format!("the mean is {mean:.5}, the set's is {known}");
                    self.add("sum", colour, what);
                }
            }
        }
        Ok(())
    }

    fn small_imagenet(&mut self, set: &small_imagenet::SmallImageNet, root: &str) {
        // The mean in the files is that of all ten batches.
        if self.split == Split::Train && set.batches() == 10 {
            match set.mean_error() {
                Some(error) if error > 0.5 => {
                    let what = format!("the mean differs from the stated one by {error:.2} levels");
                    self.add("sum", root, what);
                }
                _ => {}
            }
        }
    }

    fn folder(&mut self, set: &FolderSet, layout: Layout) -> Result<()> {
        let counts = self.facts(set)?;
        if let Some([classes, train, test]) = layout.official()
            && layout == Layout::TinyImageNet
        {
            let images = if self.split == Split::Train {
                train
            } else {
                test
            };
            self.equal(set, &counts, images / classes);
        } else {
            for (name, _) in set
                .classes()
                .iter()
                .zip(&counts)
                .filter(|(_, count)| **count == 0)
            {
                self.add("count", name, "no images");
            }
        }
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        let mut damaged: Vec<(PathBuf, String)> = Vec::new();
        for (index, found) in set.survey().into_iter().enumerate() {
            match found {
                Ok((kind, extent)) => {
                    *kinds.entry(kind.to_string()).or_default() += 1;
                    let wrong = layout == Layout::TinyImageNet && extent != [64, 64];
                    if wrong || extent.contains(&1) {
                        let path = set.listing().path(index).display().to_string();
                        self.add("size", path, format!("{}×{} pixels", extent[0], extent[1]));
                    }
                }
                Err(fault) => damaged.push((fault.path, fault.what)),
            }
        }
        let kinds: Vec<String> = kinds
            .iter()
            .map(|(kind, n)| format!("{n} {kind}"))
            .collect();
        self.report.facts.push(format!(
            "{} {}: {}, {} damaged",
            set.name(),
            self.split,
            kinds.join(", "),
            damaged.len()
        ));
        for (path, what) in damaged {
            self.add("file", path.display().to_string(), what);
        }
        Ok(())
    }
}

/// Mean of each channel, 0 to 1.
fn channel_means(set: &dyn Dataset) -> Result<[f64; 3]> {
    let [height, width, channels] = set.shape();
    let mut image = vec![0; height * width * channels];
    let mut sums = [0u64; 3];
    for index in 0..set.len() {
        set.fill(index, &mut image)?;
        for pixel in image.chunks_exact(3) {
            for (sum, &value) in sums.iter_mut().zip(pixel) {
                *sum += u64::from(value);
            }
        }
    }
    let count = (set.len() * height * width * 255) as f64;
    Ok(sums.map(|sum| sum as f64 / count))
}
