//! What nvcc made of the kernels, read from the machine code: no GPU needed.
//!
//! Each kernel has a budget below. Registers and shared memory decide how many blocks share a
//! multiprocessor; local memory and spills mean that registers ran out or were indexed at run time;
//! a kernel bound by memory must move 16 bytes a thread. Skips without nvcc's tools, except in CI.

use std::path::{Path, PathBuf};
use std::process::Command;

use whatwhere::kernels::{Module, module_of, modules};

/// The limits of one kernel on every target.
struct Budget {
    /// Its name; a `*` at the end stands for `f32`, `f16` and `bf16`, a `*16` for the latter two.
    kernel: &'static str,
    /// Registers of a thread. 64 allow a block of 1024 threads; 32 let two of them share.
    registers: u32,
    /// Static shared memory of a block, in bytes, without the 1 KiB that sm_90 keeps for itself.
    shared: u32,
    /// Instructions that must be there, by the beginning of their SASS name.
    uses: &'static [&'static str],
}

/// 16-byte loads and stores of global memory, and copies from global to shared memory.
const LOAD: &str = "LDG.E.128";
const STORE: &str = "STG.E.128";
const COPY: &str = "LDGSTS.E.BYPASS.128";
const COPY_4: &str = "LDGSTS.E ";
/// Products on tensor cores, and the loads of their fragments.
const MMA: &str = "HMMA.16816.F32";
const MMA_BF16: &str = "HMMA.16816.F32.BF16";
const MMA_TF32: &str = "HMMA.1688.F32.TF32";
const FRAGMENT: &str = "LDSM.16.M88.4";
const FRAGMENT_TURNED: &str = "LDSM.16.MT88.4";

#[rustfmt::skip]
const BUDGETS: &[Budget] = &[
    Budget { kernel: "add_*",                                registers: 40, shared: 0, uses: &[LOAD, STORE] },
    Budget { kernel: "add_relu_*",                           registers: 40, shared: 0, uses: &[LOAD, STORE] },
    Budget { kernel: "batch_norm_apply_*",                   registers: 80, shared: 0, uses: &[LOAD, STORE] },
    Budget { kernel: "batch_norm_apply_scalar_*",            registers: 32, shared: 0, uses: &["LDG.E"] },
    Budget { kernel: "batch_norm_backward_*",                registers: 96, shared: 0, uses: &[LOAD, STORE] },
    Budget { kernel: "batch_norm_backward_finish",           registers: 32, shared: 16384, uses: &["DADD"] },
    Budget { kernel: "batch_norm_backward_scalar_*",         registers: 40, shared: 0, uses: &["LDG.E"] },
    Budget { kernel: "batch_norm_backward_sums_*",           registers: 96, shared: 16384, uses: &[LOAD] },
    Budget { kernel: "batch_norm_backward_sums_scalar_*",    registers: 40, shared: 2048, uses: &["LDG.E"] },
    Budget { kernel: "batch_norm_blend",                     registers: 16, shared: 0, uses: &[] },
    Budget { kernel: "batch_norm_coefficients",              registers: 32, shared: 0, uses: &[] },
    Budget { kernel: "batch_norm_finish",                    registers: 32, shared: 8448, uses: &["DADD"] },
    Budget { kernel: "batch_norm_shuffle_backward_direct_*", registers: 80, shared: 0, uses: &[LOAD, STORE] },
    Budget { kernel: "batch_norm_shuffle_backward_scalar_*", registers: 40, shared: 0, uses: &[] },
    Budget { kernel: "batch_norm_shuffle_backward_staged_*", registers: 88, shared: 0, uses: &[COPY, LOAD, STORE] },
    Budget { kernel: "batch_norm_shuffle_direct_*",          registers: 48, shared: 0, uses: &[STORE] },
    Budget { kernel: "batch_norm_shuffle_scalar_*",          registers: 32, shared: 0, uses: &[] },
    Budget { kernel: "batch_norm_shuffle_staged_*",          registers: 64, shared: 0, uses: &[COPY, STORE] },
    Budget { kernel: "batch_norm_statistics_*",              registers: 64, shared: 17408, uses: &[LOAD] },
    Budget { kernel: "batch_norm_statistics_scalar_*",       registers: 32, shared: 3072, uses: &["LDG.E"] },
    Budget { kernel: "cast_bf16_f16",                        registers: 32, shared: 0, uses: &[LOAD, STORE] },
    Budget { kernel: "cast_bf16_f32",                        registers: 32, shared: 0, uses: &[STORE] },
    Budget { kernel: "cast_f16_bf16",                        registers: 32, shared: 0, uses: &[LOAD, STORE] },
    Budget { kernel: "cast_f16_f32",                         registers: 32, shared: 0, uses: &[STORE] },
    Budget { kernel: "cast_f32_bf16",                        registers: 32, shared: 0, uses: &[LOAD] },
    Budget { kernel: "cast_f32_f16",                         registers: 32, shared: 0, uses: &[LOAD] },
    Budget { kernel: "cast_u8_f32",                          registers: 32, shared: 0, uses: &[STORE] },
    Budget { kernel: "concat_b128",                          registers: 40, shared: 0, uses: &[LOAD, STORE] },
    Budget { kernel: "concat_b16",                           registers: 32, shared: 0, uses: &["STG.E.U16"] },
    Budget { kernel: "concat_b32",                           registers: 32, shared: 0, uses: &["STG.E"] },
    Budget { kernel: "conv2d_bias_gradient_*",               registers: 32, shared: 9216, uses: &[LOAD] },
    Budget { kernel: "conv2d_dgrad_128_bf16",                registers: 128, shared: 0, uses: &[COPY, STORE, MMA_BF16, FRAGMENT, FRAGMENT_TURNED] },
    Budget { kernel: "conv2d_dgrad_128_f16",                 registers: 128, shared: 0, uses: &[COPY, STORE, MMA, FRAGMENT, FRAGMENT_TURNED] },
    Budget { kernel: "conv2d_dgrad_128_f32",                 registers: 128, shared: 0, uses: &[COPY, STORE, "FFMA"] },
    Budget { kernel: "conv2d_dgrad_128_tf32",                registers: 128, shared: 0, uses: &[COPY, STORE, MMA_TF32, FRAGMENT] },
    Budget { kernel: "conv2d_dgrad_64_bf16",                 registers: 128, shared: 0, uses: &[COPY, STORE, MMA_BF16, FRAGMENT, FRAGMENT_TURNED] },
    Budget { kernel: "conv2d_dgrad_64_f16",                  registers: 128, shared: 0, uses: &[COPY, STORE, MMA, FRAGMENT, FRAGMENT_TURNED] },
    Budget { kernel: "conv2d_dgrad_64_f32",                  registers: 128, shared: 0, uses: &[COPY, STORE, "FFMA"] },
    Budget { kernel: "conv2d_dgrad_64_tf32",                 registers: 128, shared: 0, uses: &[COPY, STORE, MMA_TF32, FRAGMENT] },
    Budget { kernel: "conv2d_dgrad_scalar_bf16",             registers: 168, shared: 0, uses: &["LDG.E.U16", STORE, MMA_BF16, FRAGMENT, FRAGMENT_TURNED] },
    Budget { kernel: "conv2d_dgrad_scalar_f16",              registers: 168, shared: 0, uses: &["LDG.E.U16", STORE, MMA, FRAGMENT, FRAGMENT_TURNED] },
    Budget { kernel: "conv2d_dgrad_scalar_f32",              registers: 168, shared: 0, uses: &[COPY_4, STORE, "FFMA"] },
    Budget { kernel: "conv2d_dgrad_scalar_tf32",             registers: 168, shared: 0, uses: &[COPY_4, STORE, MMA_TF32, FRAGMENT] },
    Budget { kernel: "conv2d_finish_*",                      registers: 64, shared: 0, uses: &[LOAD] },
    Budget { kernel: "conv2d_fprop_128_bf16",                registers: 128, shared: 1024, uses: &[COPY, STORE, MMA_BF16, FRAGMENT] },
    Budget { kernel: "conv2d_fprop_128_f16",                 registers: 128, shared: 1024, uses: &[COPY, STORE, MMA, FRAGMENT] },
    Budget { kernel: "conv2d_fprop_128_f32",                 registers: 128, shared: 1024, uses: &[COPY, STORE, "FFMA"] },
    Budget { kernel: "conv2d_fprop_128_tf32",                registers: 128, shared: 1024, uses: &[COPY, STORE, MMA_TF32, FRAGMENT] },
    Budget { kernel: "conv2d_fprop_64_bf16",                 registers: 128, shared: 512, uses: &[COPY, STORE, MMA_BF16, FRAGMENT] },
    Budget { kernel: "conv2d_fprop_64_f16",                  registers: 128, shared: 512, uses: &[COPY, STORE, MMA, FRAGMENT] },
    Budget { kernel: "conv2d_fprop_64_f32",                  registers: 128, shared: 512, uses: &[COPY, STORE, "FFMA"] },
    Budget { kernel: "conv2d_fprop_64_tf32",                 registers: 128, shared: 512, uses: &[COPY, STORE, MMA_TF32, FRAGMENT] },
    Budget { kernel: "conv2d_fprop_scalar_bf16",             registers: 168, shared: 512, uses: &["LDG.E.U16", STORE, MMA_BF16, FRAGMENT] },
    Budget { kernel: "conv2d_fprop_scalar_f16",              registers: 168, shared: 512, uses: &["LDG.E.U16", STORE, MMA, FRAGMENT] },
    Budget { kernel: "conv2d_fprop_scalar_f32",              registers: 168, shared: 512, uses: &[COPY_4, STORE, "FFMA"] },
    Budget { kernel: "conv2d_fprop_scalar_tf32",             registers: 168, shared: 512, uses: &[COPY_4, STORE, MMA_TF32, FRAGMENT] },
    Budget { kernel: "conv2d_hopper_transpose_filters",      registers: 32, shared: 4224, uses: &[LOAD, STORE] },
    Budget { kernel: "conv2d_statistics",                    registers: 32, shared: 0, uses: &["LDG.E.64"] },
    Budget { kernel: "conv2d_wgrad_128_bf16",                registers: 128, shared: 0, uses: &[COPY, STORE, MMA_BF16, FRAGMENT_TURNED] },
    Budget { kernel: "conv2d_wgrad_128_f16",                 registers: 128, shared: 0, uses: &[COPY, STORE, MMA, FRAGMENT_TURNED] },
    Budget { kernel: "conv2d_wgrad_128_f32",                 registers: 128, shared: 0, uses: &[COPY, STORE, "FFMA"] },
    Budget { kernel: "conv2d_wgrad_128_tf32",                registers: 128, shared: 0, uses: &[COPY, STORE, MMA_TF32] },
    Budget { kernel: "conv2d_wgrad_64_bf16",                 registers: 128, shared: 0, uses: &[COPY, STORE, MMA_BF16, FRAGMENT_TURNED] },
    Budget { kernel: "conv2d_wgrad_64_f16",                  registers: 128, shared: 0, uses: &[COPY, STORE, MMA, FRAGMENT_TURNED] },
    Budget { kernel: "conv2d_wgrad_64_f32",                  registers: 128, shared: 0, uses: &[COPY, STORE, "FFMA"] },
    Budget { kernel: "conv2d_wgrad_64_tf32",                 registers: 128, shared: 0, uses: &[COPY, STORE, MMA_TF32] },
    Budget { kernel: "conv2d_wgrad_scalar_bf16",             registers: 168, shared: 0, uses: &["LDG.E.U16", STORE, MMA_BF16, FRAGMENT_TURNED] },
    Budget { kernel: "conv2d_wgrad_scalar_f16",              registers: 168, shared: 0, uses: &["LDG.E.U16", STORE, MMA, FRAGMENT_TURNED] },
    Budget { kernel: "conv2d_wgrad_scalar_f32",              registers: 168, shared: 0, uses: &[COPY_4, STORE, "FFMA"] },
    Budget { kernel: "conv2d_wgrad_scalar_tf32",             registers: 168, shared: 0, uses: &[COPY_4, STORE, MMA_TF32] },
    Budget { kernel: "dropout_*",                            registers: 32, shared: 8, uses: &[LOAD, STORE] },
    Budget { kernel: "dropout_channels_*",                   registers: 40, shared: 8, uses: &[LOAD, STORE] },
    Budget { kernel: "dropout_channels_scalar_*",            registers: 32, shared: 8, uses: &[] },
    Budget { kernel: "gap_linear_scalar_*",                  registers: 32, shared: 0, uses: &[] },
    Budget { kernel: "gap_linear_vector_*",                  registers: 40, shared: 0, uses: &[LOAD] },
    Budget { kernel: "global_avg_pool_backward_scalar_*",    registers: 32, shared: 0, uses: &[] },
    Budget { kernel: "global_avg_pool_backward_vector_*",    registers: 32, shared: 0, uses: &[LOAD, STORE] },
    Budget { kernel: "global_avg_pool_scalar_*",             registers: 32, shared: 1024, uses: &[] },
    Budget { kernel: "global_avg_pool_vector_*",             registers: 32, shared: 8192, uses: &[LOAD] },
    Budget { kernel: "masked_bce_*",                         registers: 64, shared: 2048, uses: &[LOAD] },
    Budget { kernel: "masked_bce_backward_*",                registers: 56, shared: 0, uses: &[LOAD, STORE] },
    Budget { kernel: "masked_bce_mean_*",                    registers: 32, shared: 2048, uses: &[] },
    Budget { kernel: "max_pool2d_2x2_*",                     registers: 40, shared: 0, uses: &[LOAD, STORE] },
    Budget { kernel: "max_pool2d_3x3_*",                     registers: 64, shared: 0, uses: &[LOAD, STORE] },
    Budget { kernel: "max_pool2d_any_*",                     registers: 32, shared: 0, uses: &[] },
    Budget { kernel: "max_pool2d_backward_any_*",            registers: 32, shared: 0, uses: &[] },
    Budget { kernel: "max_pool2d_backward_two_*",            registers: 40, shared: 0, uses: &[LOAD, STORE] },
    Budget { kernel: "max_pool2d_backward_wide_*",           registers: 32, shared: 0, uses: &[] },
    Budget { kernel: "max_pool2d_wide_*",                    registers: 32, shared: 0, uses: &[] },
    Budget { kernel: "metrics_confusion_*",                  registers: 32, shared: 0, uses: &[LOAD, "RED"] },
    Budget { kernel: "metrics_sums_*",                       registers: 24, shared: 0, uses: &["DMUL", "DADD"] },
    Budget { kernel: "metrics_top_k_*",                      registers: 32, shared: 12, uses: &[LOAD] },
    Budget { kernel: "permutation",                          registers: 64, shared: 16, uses: &["ATOMS"] },
    Budget { kernel: "relu_*",                               registers: 32, shared: 0, uses: &[LOAD, STORE] },
    Budget { kernel: "relu_backward_*",                      registers: 40, shared: 0, uses: &[LOAD, STORE] },
    Budget { kernel: "resample_scalar_*",                    registers: 32, shared: 1024, uses: &[] },
    Budget { kernel: "resample_vector_*",                    registers: 40, shared: 8192, uses: &[LOAD, STORE] },
    Budget { kernel: "sb_projection_*",                      registers: 64, shared: 20992, uses: &[LOAD] },
    Budget { kernel: "sb_projection_dw_*",                   registers: 96, shared: 26624, uses: &[LOAD] },
    Budget { kernel: "sb_projection_dx_*",                   registers: 80, shared: 25088, uses: &[LOAD, STORE] },
    Budget { kernel: "sb_projection_dz_*",                   registers: 32, shared: 0, uses: &[] },
    Budget { kernel: "sb_projection_mean_*",                 registers: 32, shared: 2048, uses: &[] },
    Budget { kernel: "sb_projection_mma_256_bf16",           registers: 128, shared: 2048, uses: &[COPY, FRAGMENT, MMA_BF16] },
    Budget { kernel: "sb_projection_mma_256_f16",            registers: 128, shared: 2048, uses: &[COPY, FRAGMENT, MMA] },
    Budget { kernel: "sb_projection_mma_256_tf32",           registers: 144, shared: 2048, uses: &[COPY, FRAGMENT, MMA_TF32] },
    Budget { kernel: "sb_projection_mma_64_bf16",            registers: 96, shared: 1024, uses: &[COPY, FRAGMENT, MMA_BF16] },
    Budget { kernel: "sb_projection_mma_64_f16",             registers: 96, shared: 1024, uses: &[COPY, FRAGMENT, MMA] },
    Budget { kernel: "sb_projection_mma_64_tf32",            registers: 96, shared: 1024, uses: &[COPY, FRAGMENT, MMA_TF32] },
    Budget { kernel: "sb_projection_mma_dw_bf16",            registers: 128, shared: 0, uses: &[COPY, STORE, MMA_BF16, FRAGMENT_TURNED] },
    Budget { kernel: "sb_projection_mma_dw_f16",             registers: 128, shared: 0, uses: &[COPY, STORE, MMA, FRAGMENT_TURNED] },
    Budget { kernel: "sb_projection_mma_dw_tf32",            registers: 168, shared: 0, uses: &[COPY, STORE, MMA_TF32] },
    Budget { kernel: "sb_projection_mma_dx_bf16",            registers: 128, shared: 0, uses: &[COPY, STORE, FRAGMENT, MMA_BF16, FRAGMENT_TURNED] },
    Budget { kernel: "sb_projection_mma_dx_f16",             registers: 128, shared: 0, uses: &[COPY, STORE, FRAGMENT, MMA, FRAGMENT_TURNED] },
    Budget { kernel: "sb_projection_mma_dx_tf32",            registers: 128, shared: 0, uses: &[COPY, STORE, FRAGMENT, MMA_TF32] },
    Budget { kernel: "sb_projection_sum_*",                  registers: 32, shared: 0, uses: &[] },
    Budget { kernel: "sgd_*",                                registers: 48, shared: 0, uses: &[LOAD, STORE] },
    Budget { kernel: "sgd_check_*",                          registers: 24, shared: 0, uses: &[LOAD] },
    Budget { kernel: "sgd_loss",                             registers: 16, shared: 0, uses: &[] },
    Budget { kernel: "sgd_rescale",                          registers: 16, shared: 0, uses: &[] },
    Budget { kernel: "softmax_cross_entropy_backward_*",     registers: 32, shared: 0, uses: &[LOAD, STORE] },
    Budget { kernel: "softmax_cross_entropy_mean_*",         registers: 32, shared: 3072, uses: &[] },
    Budget { kernel: "softmax_cross_entropy_rows_*",         registers: 32, shared: 3072, uses: &[LOAD] },
    Budget { kernel: "spatial_shuffle_direct_b16",           registers: 32, shared: 0, uses: &[STORE, LOAD] },
    Budget { kernel: "spatial_shuffle_direct_b32",           registers: 32, shared: 0, uses: &[STORE] },
    Budget { kernel: "spatial_shuffle_scalar_b16",           registers: 16, shared: 0, uses: &["STG.E.U16"] },
    Budget { kernel: "spatial_shuffle_scalar_b32",           registers: 16, shared: 0, uses: &["STG.E"] },
    Budget { kernel: "spatial_shuffle_staged_b16",           registers: 32, shared: 0, uses: &[COPY, STORE, LOAD] },
    Budget { kernel: "spatial_shuffle_staged_b32",           registers: 32, shared: 0, uses: &[COPY, STORE] },
    Budget { kernel: "transform_scalar_*",                   registers: 40, shared: 3088, uses: &[] },
    Budget { kernel: "transform_vector_*",                   registers: 40, shared: 3088, uses: &[STORE] },
];

/// What marks the use of sm_90a: matrix products of warpgroups, and bulk copies.
const PRODUCT: &str = "HGMMA.";
const BULK: &str = "UTMALDG.";
const IM2COL: &str = "UTMALDG.4D.IM2COL";
/// Waiting at an mbarrier.
const WAIT: &str = "SYNCS.PHASECHK.TRANS64.TRYWAIT";

/// Kernels for sm_90a alone: these budgets hold there, and other targets get a trap.
#[rustfmt::skip]
const SM90A_BUDGETS: &[Budget] = &[
    Budget { kernel: "conv2d_hopper_dgrad_n64_*16",        registers: 168, shared: 0, uses: &[PRODUCT, BULK, IM2COL, WAIT, STORE, "USETMAXREG"] },
    Budget { kernel: "conv2d_hopper_dgrad_n128_*16",       registers: 168, shared: 0, uses: &[PRODUCT, BULK, IM2COL, WAIT, STORE, "USETMAXREG"] },
    Budget { kernel: "conv2d_hopper_dgrad_n256_*16",       registers: 168, shared: 0, uses: &[PRODUCT, BULK, IM2COL, WAIT, STORE, "USETMAXREG"] },
    Budget { kernel: "conv2d_hopper_fprop_n64_*16",        registers: 168, shared: 0, uses: &[PRODUCT, BULK, IM2COL, WAIT, STORE, "USETMAXREG"] },
    Budget { kernel: "conv2d_hopper_fprop_n64_tf32",       registers: 168, shared: 0, uses: &["HGMMA.64x64x8.F32.TF32", BULK, IM2COL, WAIT, STORE, "USETMAXREG"] },
    Budget { kernel: "conv2d_hopper_fprop_n128_*16",       registers: 168, shared: 0, uses: &[PRODUCT, BULK, IM2COL, WAIT, STORE, "USETMAXREG"] },
    Budget { kernel: "conv2d_hopper_fprop_n128_tf32",      registers: 168, shared: 0, uses: &["HGMMA.64x128x8.F32.TF32", BULK, IM2COL, WAIT, STORE, "USETMAXREG"] },
    Budget { kernel: "conv2d_hopper_fprop_n256_*16",       registers: 168, shared: 0, uses: &[PRODUCT, BULK, IM2COL, WAIT, STORE, "USETMAXREG"] },
    Budget { kernel: "conv2d_hopper_fprop_n256_tf32",      registers: 168, shared: 0, uses: &["HGMMA.64x256x8.F32.TF32", BULK, IM2COL, WAIT, STORE, "USETMAXREG"] },
    Budget { kernel: "conv2d_hopper_wgrad_n64_*16",        registers: 168, shared: 0, uses: &[PRODUCT, BULK, IM2COL, WAIT, STORE, "USETMAXREG"] },
    Budget { kernel: "conv2d_hopper_wgrad_n128_*16",       registers: 168, shared: 0, uses: &[PRODUCT, BULK, IM2COL, WAIT, STORE, "USETMAXREG"] },
    Budget { kernel: "conv2d_hopper_wgrad_n256_*16",       registers: 168, shared: 0, uses: &[PRODUCT, BULK, IM2COL, WAIT, STORE, "USETMAXREG"] },
    Budget { kernel: "hopper_probe_im2col",                registers: 32,  shared: 8, uses: &[IM2COL, WAIT] },
    Budget { kernel: "hopper_probe_product_kk_n128_f16",   registers: 128, shared: 8, uses: &["HGMMA.64x128x16.F32 ", BULK, WAIT] },
    Budget { kernel: "hopper_probe_product_kk_n256_bf16",  registers: 168, shared: 8, uses: &["HGMMA.64x256x16.F32.BF16", BULK, WAIT] },
    Budget { kernel: "hopper_probe_product_kk_n64_bf16",   registers: 64,  shared: 8, uses: &["HGMMA.64x64x16.F32.BF16", BULK, WAIT] },
    Budget { kernel: "hopper_probe_product_kk_n128_tf32",  registers: 128, shared: 8, uses: &["HGMMA.64x128x8.F32.TF32", BULK, WAIT] },
    Budget { kernel: "hopper_probe_product_kk_n256_tf32",  registers: 168, shared: 8, uses: &["HGMMA.64x256x8.F32.TF32", BULK, WAIT] },
    Budget { kernel: "hopper_probe_product_kk_n64_tf32",   registers: 64,  shared: 8, uses: &["HGMMA.64x64x8.F32.TF32", BULK, WAIT] },
    Budget { kernel: "hopper_probe_product_km_n128_bf16",  registers: 128, shared: 8, uses: &["HGMMA.64x128x16.F32.BF16", BULK, WAIT] },
    Budget { kernel: "hopper_probe_product_mk_n64_f16",    registers: 64,  shared: 8, uses: &["HGMMA.64x64x16.F32 ", BULK, WAIT] },
    Budget { kernel: "hopper_probe_product_mm_n256_bf16",  registers: 168, shared: 8, uses: &["HGMMA.64x256x16.F32.BF16", BULK, WAIT] },
    Budget { kernel: "hopper_probe_tile2",                 registers: 32,  shared: 8, uses: &["UTMALDG.2D", WAIT] },
    Budget { kernel: "hopper_probe_tile3",                 registers: 32,  shared: 8, uses: &["UTMALDG.3D", WAIT] },
];

/// What they are elsewhere.
const TRAP: Budget = Budget {
    kernel: "",
    registers: 8,
    shared: 0,
    uses: &["BPT.TRAP"],
};

const TARGETS: [&str; 2] = ["sm_80", "sm_90a"];

/// `cuobjdump`, from PATH or from the wheels beside nvcc.
fn cuobjdump() -> Option<PathBuf> {
    let runs = |path: &PathBuf| Command::new(path).arg("--version").output().is_ok();
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/lib");
    let entries = std::fs::read_dir(lib).into_iter().flatten().flatten();
    let wheels = entries.map(|e| e.path().join("site-packages/nvidia/cu13/bin/cuobjdump"));
    std::iter::once(PathBuf::from("cuobjdump"))
        .chain(wheels)
        .find(runs)
}

/// The crate's kernels; those that `WHATWHERE_KERNELS` adds (docs/your_own_kernel.md) have no budget.
fn own_modules() -> impl Iterator<Item = &'static Module> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    (modules().iter()).filter(move |m| folder.join(format!("{}.cu", m.name)).is_file())
}

/// The tool and the kernels, or none where tests are to be skipped.
fn tool() -> Option<PathBuf> {
    let tool = cuobjdump().filter(|_| !modules().is_empty());
    if tool.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "no nvcc or no cuobjdump: run scripts/setup-cuda"
        );
        eprintln!("skipped: no nvcc or no cuobjdump here (scripts/setup-cuda installs both)");
    }
    tool
}

fn dump(tool: &Path, module: &Module, target: &str, what: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(module.name);
    std::fs::write(&path, module.fatbin).unwrap();
    let mut command = Command::new(tool);
    // cuobjdump calls nvdisasm, which lies beside it.
    if let Some(beside) = tool.parent() {
        let old = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(beside.to_owned()).chain(std::env::split_paths(&old));
        command.env("PATH", std::env::join_paths(all).unwrap());
    }
    let done = command
        .args([what, "--gpu-architecture", target])
        .arg(&path)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).unwrap()
}

/// The kernels of a resource dump with their figures: ("permutation", "REG:32 STACK:0 ...").
fn resources(dump: &str) -> Vec<(String, String)> {
    let lines: Vec<_> = dump.lines().map(str::trim).collect();
    let pairs = lines.windows(2).filter_map(|pair| {
        let name = pair[0].strip_prefix("Function ")?.trim_end_matches(':');
        Some((name.to_owned(), pair[1].to_owned()))
    });
    pairs.collect()
}

fn figure(line: &str, name: &str) -> u32 {
    let word = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix(':'));
    word.unwrap_or_else(|| panic!("no {name} in: {line}"))
        .parse()
        .unwrap()
}

/// The kernels that a budget is for.
fn kernels_of(budget: &Budget) -> Vec<String> {
    let all = |stem: &str, types: &[&str]| types.iter().map(|t| format!("{stem}{t}")).collect();
    if let Some(stem) = budget.kernel.strip_suffix('*') {
        all(stem, &["f32", "f16", "bf16"])
    } else if let Some(stem) = budget.kernel.strip_suffix("*16") {
        all(stem, &["f16", "bf16"])
    } else {
        vec![budget.kernel.to_owned()]
    }
}

fn budget_of(kernel: &str, target: &str) -> &'static Budget {
    let mine = |budget: &&Budget| kernels_of(budget).iter().any(|name| name == kernel);
    let found = match SM90A_BUDGETS.iter().find(mine) {
        Some(_) if target != "sm_90a" => Some(&TRAP),
        Some(budget) => Some(budget),
        None => BUDGETS.iter().find(mine),
    };
    found.unwrap_or_else(|| panic!("{kernel} has no budget in tests/machine_code.rs"))
}

#[test]
fn registers_and_memory_stay_within_their_budgets() {
    let Some(tool) = tool() else { return };
    let mut seen = Vec::new();
    for module in own_modules() {
        for target in TARGETS {
            let reserved = if target == "sm_80" { 0 } else { 1024 };
            let kernels = resources(&dump(&tool, module, target, "--dump-resource-usage"));
            assert!(
                !kernels.is_empty(),
                "no kernel in {} for {target}",
                module.name
            );
            for (kernel, line) in kernels {
                let budget = budget_of(&kernel, target);
                let shared = figure(&line, "SHARED");
                assert!(
                    figure(&line, "REG") <= budget.registers,
                    "{kernel}, {target}: {line}"
                );
                assert!(
                    shared <= budget.shared.next_multiple_of(128) + reserved,
                    "{kernel}, {target}: {line}"
                );
                assert_eq!(figure(&line, "STACK"), 0, "{kernel}, {target}: {line}");
                assert_eq!(figure(&line, "LOCAL"), 0, "{kernel}, {target}: {line}");
                assert_eq!(
                    module_of(&kernel).map(|m| m.name),
                    Some(module.name),
                    "{kernel} has a foreign name"
                );
                seen.push(kernel);
            }
        }
    }
    for kernel in BUDGETS.iter().chain(SM90A_BUDGETS).flat_map(kernels_of) {
        let times = seen.iter().filter(|seen| **seen == kernel).count();
        assert_eq!(times, TARGETS.len(), "{kernel}");
    }
}

#[test]
fn kernels_use_the_instructions_they_were_written_for() {
    let Some(tool) = tool() else { return };
    for module in own_modules() {
        for target in TARGETS {
            let sass = dump(&tool, module, target, "--dump-sass");
            for function in sass.split("Function : ").skip(1) {
                let (kernel, code) = function.split_once('\n').unwrap();
                let budget = budget_of(kernel.trim(), target);
                for instruction in budget.uses {
                    let there = code.contains(&format!(" {instruction}"));
                    assert!(there, "{kernel} has no {instruction} on {target}");
                }
                for spill in [" LDL", " STL"] {
                    assert!(
                        !code.contains(spill),
                        "{kernel} uses local memory on {target}"
                    );
                }
                // Sums in an order that changes from run to run would make results change too.
                for atomic in ["ATOMG.E.ADD.F", "RED.E.ADD.F", "ATOMS.ADD.F"] {
                    assert!(
                        !code.contains(atomic),
                        "{kernel} adds floats atomically on {target}"
                    );
                }
            }
        }
    }
}
