//! Data sets and the loader, from files to batches.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use whatwhere::data::preview;
use whatwhere::data::synthetic::{Recipe, Task};
use whatwhere::data::{
    self, Augment, Batch, Dataset, ImageSet, Loader, LoaderOptions, Normalise, OpenOptions, Split,
    Subset, Transform,
};
use whatwhere::{Error, Result};

/// Images of 4×4 whose every byte is the image's number.
fn numbered(count: usize) -> Arc<dyn Dataset> {
    let images = (0..count * 48).map(|i| (i / 48) as u8).collect();
    let labels = (0..count as u32).map(|i| i % 3).collect();
    let classes = ["a", "b", "c"].map(String::from).to_vec();
    let set = ImageSet::new("numbered", Split::Train, [4, 4, 3], classes, images, labels);
    Arc::new(set.unwrap().with_normalise(Normalise::NONE))
}

/// Everything a batch holds, comparable bit for bit.
type Contents = (Vec<u32>, Vec<i32>, Vec<u32>);

fn contents(batch: Result<Batch>) -> Contents {
    let batch = batch.unwrap();
    let bits = batch
        .images
        .data::<f32>()
        .unwrap()
        .iter()
        .map(|v| v.to_bits())
        .collect();
    (bits, batch.labels.to_vec().unwrap(), batch.indices)
}

fn all(loader: &Loader, epoch: u64, start: usize) -> Vec<Contents> {
    loader.epoch(epoch, start).map(contents).collect()
}

#[test]
fn batches_hold_what_the_indices_say() {
    let options = LoaderOptions {
        batch: 10,
        ..Default::default()
    };
    let loader = Loader::new(numbered(32), options).unwrap();
    let mut seen = Vec::new();
    let mut sizes = Vec::new();
    for batch in loader.epoch(3, 0) {
        let batch = batch.unwrap();
        assert_eq!(batch.images.dims(), [batch.indices.len(), 4, 4, 3]);
        let pixels = batch.images.data::<f32>().unwrap();
        for (i, &index) in batch.indices.iter().enumerate() {
            assert!(
                pixels[i * 48..][..48]
                    .iter()
                    .all(|&v| v == index as f32 / 255.0)
            );
            assert_eq!(batch.labels.data::<i32>().unwrap()[i], index as i32 % 3);
        }
        sizes.push(batch.indices.len());
        seen.extend(batch.indices);
    }
    assert_eq!(sizes, [10, 10, 10, 2]);
    assert_eq!(seen, loader.order(3));
    assert_ne!(loader.order(3), loader.order(4));
    seen.sort_unstable();
    assert_eq!(seen, (0..32).collect::<Vec<u32>>());
}

#[test]
fn augmentation_is_keyed_by_seed_epoch_and_image() {
    let recipe = Recipe {
        size: 16,
        count: 12,
        ..Recipe::new(Task::Texture, Split::Train)
    };
    let set = Arc::new(recipe.generate().unwrap());
    let augment = Augment::CropFlip { pad: 2 };
    let options = LoaderOptions {
        batch: 5,
        seed: 4,
        augment,
        ..Default::default()
    };
    let loader = Loader::new(set.clone(), options).unwrap();
    let transform = Transform::new(set.shape(), Normalise::HALF).unwrap();
    for batch in loader.epoch(7, 0).map(|batch| batch.unwrap()) {
        let mut expected = vec![0.0; batch.images.len()];
        for (&index, out) in batch
            .indices
            .iter()
            .zip(expected.chunks_exact_mut(16 * 16 * 3))
        {
            transform.apply(set.image(index as usize), augment.draw(4, 7, index), out);
        }
        assert_eq!(batch.images.data::<f32>().unwrap(), expected);
    }
    let draws = |seed, epoch| [0, 1, 2, 3, 4].map(|i| augment.draw(seed, epoch, i));
    assert!(draws(4, 7) != draws(5, 7) && draws(4, 7) != draws(4, 8));
}

#[test]
fn contents_do_not_depend_on_the_workers_and_resume_in_the_middle() {
    let recipe = Recipe {
        size: 16,
        count: 103,
        ..Recipe::new(Task::Texture, Split::Train)
    };
    let set: Arc<dyn Dataset> = Arc::new(recipe.generate().unwrap());
    let with = |workers, drop_last| {
        let augment = Augment::CIFAR;
        let options = LoaderOptions {
            batch: 8,
            seed: 9,
            augment,
            ..Default::default()
        };
        let options = LoaderOptions {
            workers,
            drop_last,
            prefetch: 3,
            ..options
        };
        Loader::new(Arc::clone(&set), options).unwrap()
    };
    let reference = all(&with(0, false), 5, 0);
    assert_eq!(reference.len(), 13);
    for workers in [1, 2, 5, 40] {
        let loader = with(workers, false);
        assert_eq!(all(&loader, 5, 0), reference, "{workers} workers");
        for start in [1, 6, 12, 13, 14] {
            assert_eq!(
                all(&loader, 5, start),
                reference[start.min(13)..],
                "from batch {start}"
            );
        }
    }
    assert_eq!(all(&with(2, true), 5, 0), reference[..12]);
    assert_ne!(all(&with(2, false), 6, 0), reference);
}

/// A data set that counts its reads and fails where it is told to.
struct Faulty {
    set: Arc<dyn Dataset>,
    reads: AtomicUsize,
    broken: usize,
    panics: bool,
}

impl Dataset for Faulty {
    fn name(&self) -> &str {
        "faulty"
    }
    fn split(&self) -> Split {
        self.set.split()
    }
    fn len(&self) -> usize {
        self.set.len()
    }
    fn shape(&self) -> [usize; 3] {
        self.set.shape()
    }
    fn classes(&self) -> &[String] {
        self.set.classes()
    }
    fn label(&self, index: usize) -> u32 {
        self.set.label(index)
    }
    fn fill(&self, index: usize, out: &mut [u8]) -> Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        assert!(index != self.broken || !self.panics, "no such luck");
        if index == self.broken {
            return Err(Error::file("image.jpg", "not a JPEG"));
        }
        self.set.fill(index, out)
    }
    fn normalise(&self) -> Normalise {
        self.set.normalise()
    }
}

fn faulty(broken: usize, panics: bool) -> Arc<Faulty> {
    Arc::new(Faulty {
        set: numbered(40),
        reads: AtomicUsize::new(0),
        broken,
        panics,
    })
}

#[test]
fn an_error_or_panic_of_the_data_set_names_the_sample_and_ends_the_epoch() {
    for (panics, message) in [(false, "not a JPEG"), (true, "no such luck")] {
        for workers in [0, 1, 3] {
            let options = LoaderOptions {
                batch: 4,
                shuffle: false,
                workers,
                ..Default::default()
            };
            let loader = Loader::new(faulty(21, panics), options).unwrap();
            let batches: Vec<_> = loader.epoch(0, 0).collect();
            assert_eq!(batches.len(), 6, "five good batches, then the error");
            assert!(batches[..5].iter().all(|b| b.is_ok()));
            let error = batches[5].as_ref().unwrap_err().to_string();
            assert!(error.contains("sample 21 of faulty train"), "{error}");
            assert!(error.contains(message), "{error}");
        }
    }
}

#[test]
fn dropping_an_epoch_early_ends_its_threads() {
    for taken in [0, 1, 3] {
        let set = faulty(usize::MAX, false);
        let options = LoaderOptions {
            batch: 2,
            workers: 3,
            prefetch: 3,
            ..Default::default()
        };
        let loader = Loader::new(set.clone(), options).unwrap();
        let mut epoch = loader.epoch(0, 0);
        for _ in 0..taken {
            epoch.next().unwrap().unwrap();
        }
        drop((epoch, loader));
        // Each thread holds the data set; joined threads have let go of it.
        assert_eq!(Arc::strong_count(&set), 1);
        // A full channel stops its worker: what was taken, and one ready and one in hand for each.
        let reads = set.reads.load(Ordering::Relaxed);
        assert!(reads <= 2 * (taken + 3 * 2), "{reads} reads");
    }
}

#[test]
fn loaders_that_cannot_work_are_refused() {
    let refused = |set: Arc<dyn Dataset>, options: LoaderOptions, parts: [&str; 2]| {
        let error = Loader::new(set, options).err().unwrap().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    let options = LoaderOptions {
        batch: 8,
        ..Default::default()
    };
    refused(numbered(5), options.clone(), ["batch = 8", "5 images"]);
    refused(
        numbered(5),
        LoaderOptions {
            batch: 0,
            ..options.clone()
        },
        ["batch = 0", "1 to 5"],
    );
    let layout = Recipe {
        count: 8,
        ..Recipe::new(Task::Layout, Split::Train)
    };
    let layout = Arc::new(layout.generate().unwrap());
    let mirrored = LoaderOptions {
        augment: Augment::CIFAR,
        ..options.clone()
    };
    refused(layout, mirrored, ["augment = crop-flip", "layout train"]);
    let (classes, zeros) = (vec!["x".to_owned()], vec![0; 8]);
    let grey = ImageSet::new("grey", Split::Test, [1, 1, 1], classes, zeros, vec![0; 8]);
    refused(Arc::new(grey.unwrap()), options, ["RGB", "1 channel"]);
}

#[test]
fn image_sets_and_subsets_check_what_they_are_given() {
    let classes = || vec!["x".to_owned()];
    let new = |bytes, labels| ImageSet::new("s", Split::Test, [1, 1, 3], classes(), bytes, labels);
    let message = |result: Result<ImageSet>| result.unwrap_err().to_string();
    assert!(message(new(vec![], vec![])).contains("zero images"));
    assert!(message(new(vec![0; 7], vec![0; 2])).contains("6 bytes, found 7"));
    assert!(message(new(vec![0; 6], vec![0, 1])).contains("sample 1 of s: label 1"));

    let whole = numbered(10);
    let subset = Subset::every(whole.clone(), 4).unwrap();
    let mut image = [0; 48];
    subset.fill(2, &mut image).unwrap();
    assert_eq!((subset.len(), image, subset.label(2)), (3, [8; 48], 2));
    assert_eq!(Subset::first(whole.clone(), 99).unwrap().len(), 10);
    assert!(
        Subset::first(whole.clone(), 0)
            .err()
            .unwrap()
            .to_string()
            .contains("zero images")
    );
    assert!(Subset::every(whole.clone(), 0).is_err());
    assert!(
        Subset::of(whole.clone(), vec![10])
            .err()
            .unwrap()
            .to_string()
            .contains("sample 10")
    );
    let fingerprint = |n| Subset::first(whole.clone(), n).unwrap().sha256().unwrap();
    assert_eq!(fingerprint(10), whole.sha256().unwrap());
    assert_ne!(fingerprint(9), fingerprint(10));
}

#[test]
fn sets_open_by_name() {
    for name in Task::ALL.map(Task::name) {
        assert!(data::names().contains(&name));
        let options = OpenOptions {
            size: Some(16),
            count: Some(16),
            ..Default::default()
        };
        let set = data::open(name, Split::Test, &options).unwrap();
        assert_eq!(
            (set.name(), set.len(), set.shape()),
            (name, 16, [16, 16, 3])
        );
    }
    let error = |name, options| {
        data::open(name, Split::Test, &options)
            .err()
            .unwrap()
            .to_string()
    };
    assert!(error("cifar100", OpenOptions::default()).contains("--root"));
    assert!(error("imagent", OpenOptions::default()).contains("known are cifar10, cifar100"));
}

#[test]
fn a_preview_is_a_png_of_the_first_images_of_each_class() {
    let picture = preview::grid(&*numbered(32), 5, 2, 3).unwrap();
    assert_eq!((picture.width, picture.height), (2 * 16 + 4, 3 * 16 + 4));
    // Row 1, column 1 is the second image of class b: number 4; the corner is a gap.
    assert_eq!(picture.rgb[(21 * picture.width + 21) * 3..][..3], [4; 3]);
    assert_eq!(picture.rgb[..3], [255; 3]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("grid.png");
    picture.write_png(&path).unwrap();
    let file = std::io::Cursor::new(fs::read(&path).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut back = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut back).unwrap();
    assert_eq!(back, picture.rgb);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let error = picture
        .write_png(&dir.path().join("no/grid.png"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("grid.png: cannot write"), "{error}");
    assert!(preview::grid(&*numbered(3), 1, 0, 1).is_err());
}
