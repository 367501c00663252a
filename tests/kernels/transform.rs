//! `kernels/transform.cu` against `data::Transform` and `data::Augment`, bit for bit.

use whatwhere::data::{Augment, Normalise, Transform};
use whatwhere::kernels::Address;
use whatwhere::kernels::emulator::{Memory, Schedule};
use whatwhere::kernels::transform::{self, Batch, Buffers};
use whatwhere::tensor::DType;

use super::numbers::Number;
use super::{emulator_is_there, in_every_dtype, run};

const INDICES: [i32; 5] = [3, 0, 6, 3, 5];

fn check<T: Number>(map: [usize; 2], pad: Option<usize>, seed: u64) {
    let [height, width] = map;
    let (image, samples, epoch) = (height * width * 3, 7, (1 << 33) + 5);
    let bytes: Vec<u8> = (0..samples * image)
        .map(|i| (i * 89 % 251 + i % 5) as u8)
        .collect();
    let labels: Vec<i32> = (0..samples as i32).map(|i| 10 * i).collect();
    let augment = pad.map_or(Augment::None, |pad| Augment::CropFlip { pad });
    let on_cpu = Transform::new([height, width, 3], Normalise::CIFAR).unwrap();
    let mut want = vec![f32::NAN; INDICES.len() * image];
    for (&sample, want) in INDICES.iter().zip(want.chunks_exact_mut(image)) {
        let place = augment.draw(seed, epoch, sample as u32);
        on_cpu.apply(&bytes[sample as usize * image..][..image], place, want);
    }
    let want: Vec<T> = want.into_iter().map(|v| T::of(v as f64)).collect();
    let want_labels: Vec<i32> = INDICES.iter().map(|i| 10 * i).collect();

    let batch = Batch {
        samples,
        batch: INDICES.len(),
        map,
        pad,
        seed,
        epoch,
    };
    let images = Memory::from_slice(&bytes).unwrap();
    let labels = Memory::from_slice(&labels).unwrap();
    let indices = Memory::from_slice(&INDICES).unwrap();
    let table = Memory::from_slice(Normalise::CIFAR.table().as_flattened()).unwrap();
    let epoch = Memory::from_slice(&[batch.epoch as i32, (batch.epoch >> 32) as i32]).unwrap();
    // The epoch as an argument, and from memory.
    let late = Batch {
        epoch: !batch.epoch,
        ..batch
    };
    let sources = [(batch, Address(0)), (late, epoch.address())];
    for (schedule, (batch, epoch)) in Schedule::all().flat_map(|s| sources.map(|of| (s, of))) {
        let to = Memory::<T>::uninitialised(want.len()).unwrap();
        let to_labels = Memory::<i32>::uninitialised(INDICES.len()).unwrap();
        let buffers = Buffers {
            images: images.address(),
            labels: labels.address(),
            indices: indices.address(),
            epoch,
            table: table.address(),
            to: to.address(),
            to_labels: to_labels.address(),
        };
        run(
            &transform::launch(T::DTYPE, batch, buffers).unwrap(),
            schedule,
        );
        assert_eq!(to.to_vec(), want, "{batch:?} {schedule:?}");
        assert_eq!(to_labels.to_vec(), want_labels, "{batch:?} {schedule:?}");
    }
}

fn check_all<T: Number>() {
    // CIFAR's maps; H≠W in vectors and in single elements; vectors that lie in two rows; one pixel;
    // padding wider than the image.
    check::<T>([32, 32], Some(4), 1);
    check::<T>([8, 24], None, 2);
    check::<T>([8, 24], Some(2), u64::MAX - 3);
    check::<T>([5, 7], Some(3), 3);
    check::<T>([8, 6], Some(1), 6);
    check::<T>([1, 1], Some(0), 4);
    check::<T>([4, 4], Some(9), 5);
}

in_every_dtype!(check_all);

/// Draws of many samples and epochs: each must be the host's.
#[test]
fn placements_are_those_of_the_host() {
    if !emulator_is_there() {
        return;
    }
    // A single white pixel in the middle shows where the image went; columns show mirroring.
    let (side, count) = (11, 400);
    let mut image = vec![0u8; side * side * 3];
    image[(5 * side + 5) * 3..][..3].copy_from_slice(&[255, 128, 1]);
    image[(5 * side + 6) * 3..][..3].copy_from_slice(&[7, 7, 7]);
    let bytes: Vec<u8> = image
        .iter()
        .copied()
        .cycle()
        .take(count * image.len())
        .collect();
    let order: Vec<i32> = (0..count as i32).rev().collect();
    let on_cpu = Transform::new([side, side, 3], Normalise::NONE).unwrap();
    for epoch in [0, 9] {
        let mut want = vec![f32::NAN; bytes.len()];
        for (&sample, want) in order.iter().zip(want.chunks_exact_mut(image.len())) {
            on_cpu.apply(&image, Augment::CIFAR.draw(17, epoch, sample as u32), want);
        }
        let batch = Batch {
            samples: count,
            batch: count,
            map: [side, side],
            pad: Some(4),
            seed: 17,
            epoch,
        };
        let images = Memory::from_slice(&bytes).unwrap();
        let indices = Memory::from_slice(&order).unwrap();
        let table = Memory::from_slice(Normalise::NONE.table().as_flattened()).unwrap();
        let to = Memory::<f32>::uninitialised(want.len()).unwrap();
        let buffers = Buffers {
            images: images.address(),
            indices: indices.address(),
            table: table.address(),
            to: to.address(),
            ..Buffers::default()
        };
        run(
            &transform::launch(DType::F32, batch, buffers).unwrap(),
            Schedule::FAST,
        );
        assert_eq!(to.to_vec(), want);
    }
}

#[test]
fn samples_that_do_not_exist_are_nan() {
    if !emulator_is_there() {
        return;
    }
    let images = Memory::from_slice(&[9u8; 12]).unwrap();
    let labels = Memory::from_slice(&[3i32]).unwrap();
    let indices = Memory::from_slice(&[1i32, 0, -1]).unwrap();
    let table = Memory::from_slice(Normalise::NONE.table().as_flattened()).unwrap();
    let to = Memory::<f32>::uninitialised(36).unwrap();
    let to_labels = Memory::<i32>::uninitialised(3).unwrap();
    let batch = Batch {
        samples: 1,
        batch: 3,
        map: [2, 2],
        pad: None,
        seed: 0,
        epoch: 0,
    };
    let buffers = Buffers {
        images: images.address(),
        labels: labels.address(),
        indices: indices.address(),
        table: table.address(),
        to: to.address(),
        to_labels: to_labels.address(),
        ..Buffers::default()
    };
    let first = Schedule::all().next().unwrap();
    run(
        &transform::launch(DType::F32, batch, buffers).unwrap(),
        first,
    );
    assert_eq!(to_labels.to_vec(), [-1, 3, -1]);
    let nan: Vec<bool> = to.to_vec().iter().map(|v| v.is_nan()).collect();
    assert_eq!(nan, [[true; 12], [false; 12], [true; 12]].concat());
}

#[test]
fn impossible_batches_are_refused() {
    let good = Batch {
        samples: 5,
        batch: 2,
        map: [4, 4],
        pad: None,
        seed: 0,
        epoch: 0,
    };
    let refused = |dtype, batch, to| {
        let to = Address(to);
        let error = transform::launch(
            dtype,
            batch,
            Buffers {
                to,
                ..Buffers::default()
            },
        );
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("transform: "), "{error}");
    };
    refused(DType::F32, Batch { samples: 0, ..good }, 0);
    refused(
        DType::F32,
        Batch {
            samples: 1 << 31,
            ..good
        },
        0,
    );
    refused(DType::F32, Batch { batch: 0, ..good }, 0);
    refused(
        DType::F32,
        Batch {
            map: [0, 4],
            ..good
        },
        0,
    );
    refused(
        DType::F32,
        Batch {
            pad: Some(1 << 20),
            ..good
        },
        0,
    );
    refused(DType::U8, good, 0);
    refused(DType::F32, good, 8);
}
