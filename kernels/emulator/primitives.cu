// One warp doing one tensor-core instruction on whole matrices, with fragments gathered and scattered
// as the PTX manual's tables say. tests/emulator_tensor_core.rs compares with plain loops.

#include "../include/mma.cuh"
#include "../include/numbers.cuh"

namespace {

// `group` and `member` are the manual's groupID and threadID_in_group.
template <class T, unsigned depth>
__device__ void product(const T* a, const T* b, const float* c, float* d) {
    constexpr unsigned per_word = 4 / sizeof(T);
    const unsigned group = threadIdx.x / 4, member = threadIdx.x % 4;
    unsigned left[4], right[2];
    float sums[4];
    for (unsigned i = 0; i < 4; ++i) {
        unsigned row = group + (i % 2 ? 8 : 0), k = member * per_word + (i / 2 ? depth / 2 : 0);
        left[i] = *reinterpret_cast<const unsigned*>(a + row * depth + k);
        unsigned accumulator = (group + (i / 2 ? 8 : 0)) * 8 + member * 2 + i % 2;
        sums[i] = c[accumulator];
    }
    for (unsigned i = 0; i < 2; ++i) {
        unsigned k = member * per_word + (i ? depth / 2 : 0);
        right[i] = *reinterpret_cast<const unsigned*>(b + group * depth + k);
    }
    multiply_matrices<T>(sums, left, right);
    for (unsigned i = 0; i < 4; ++i) d[(group + (i / 2 ? 8 : 0)) * 8 + member * 2 + i % 2] = sums[i];
}

template <bool transposed> __device__ void matrices(const uint16_t* x, unsigned* words) {
    SHARED(uint4, tile, [32]);
    tile[threadIdx.x] = reinterpret_cast<const uint4*>(x)[threadIdx.x];
    __syncwarp();
    unsigned mine[4];
    const char* row = reinterpret_cast<const char*>(&tile[threadIdx.x]);
    if (transposed)
        load_matrices_transposed(mine, row);
    else
        load_matrices(mine, row);
    for (unsigned i = 0; i < 4; ++i) words[threadIdx.x * 4 + i] = mine[i];
}

}  // namespace

extern "C" __global__ void primitive_mma_f16(const __half* a, const __half* b, const float* c, float* d) {
    product<__half, 16>(a, b, c, d);
}
EXPORT_KERNEL(primitive_mma_f16);

extern "C" __global__ void primitive_mma_bf16(const __nv_bfloat16* a, const __nv_bfloat16* b, const float* c,
                                              float* d) {
    product<__nv_bfloat16, 16>(a, b, c, d);
}
EXPORT_KERNEL(primitive_mma_bf16);

extern "C" __global__ void primitive_mma_tf32(const float* a, const float* b, const float* c, float* d) {
    product<float, 8>(a, b, c, d);
}
EXPORT_KERNEL(primitive_mma_tf32);

extern "C" __global__ void primitive_load_matrices(const uint16_t* x, unsigned* words) {
    matrices<false>(x, words);
}
EXPORT_KERNEL(primitive_load_matrices);

extern "C" __global__ void primitive_load_matrices_transposed(const uint16_t* x, unsigned* words) {
    matrices<true>(x, words);
}
EXPORT_KERNEL(primitive_load_matrices_transposed);

extern "C" __global__ void primitive_to_tf32(const float* x, unsigned* words) {
    words[threadIdx.x] = to_tf32(x[threadIdx.x]);
}
EXPORT_KERNEL(primitive_to_tf32);
