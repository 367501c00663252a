/* The parameter structs of the kernels: plain C, shared with Rust. One file for each operation, so that
 * a change compiles anew only the kernels that see it.
 *
 * src/kernels/params.rs is the Rust side, made by bindgen from this file; tests/kernel_params.rs fails
 * when the two differ and says how to write it anew. A struct goes to the kernel by value. No other
 * header is included, so that any C parser reads these: `unsigned` has 32 bits, `unsigned long long` 64.
 */
#pragma once

#include "params/batch_norm.h"
#include "params/concat.h"
#include "params/conv2d.h"
#include "params/conv2d_hopper.h"
#include "params/dropout.h"
#include "params/elementwise.h"
#include "params/gap_linear.h"
#include "params/global_avg_pool.h"
#include "params/hopper_probe.h"
#include "params/key.h"
#include "params/masked_bce.h"
#include "params/max_pool2d.h"
#include "params/mean.h"
#include "params/metrics.h"
#include "params/permutation.h"
#include "params/resample.h"
#include "params/sb_projection.h"
#include "params/sgd.h"
#include "params/softmax_cross_entropy.h"
#include "params/spatial_shuffle.h"
#include "params/tensor_map.h"
#include "params/transform.h"
