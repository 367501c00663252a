//! Figures of Fan, Xian, Losch, Schiele (GCPR 2020), for comparison beside our own.

/// GAP+FC of VGG16 on CIFAR-100 at 32 px, the authors' run: (treated share of the thirteen
/// convolutions, test accuracy of the best epoch), both 0 to 1, from cut 99 to cut 11.
pub const VGG16_CIFAR100_GAP_FC: [(f64, f64); 14] = [
    (0.0, 0.7412),
    (1.0 / 13.0, 0.7379),
    (2.0 / 13.0, 0.7400),
    (3.0 / 13.0, 0.7398),
    (4.0 / 13.0, 0.7384),
    (5.0 / 13.0, 0.7321),
    (6.0 / 13.0, 0.7211),
    (7.0 / 13.0, 0.7069),
    (8.0 / 13.0, 0.6786),
    (9.0 / 13.0, 0.6250),
    (10.0 / 13.0, 0.5684),
    (11.0 / 13.0, 0.4218),
    (12.0 / 13.0, 0.2832),
    (1.0, 0.0794),
];
