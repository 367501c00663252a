// Binary cross-entropy of one logit.
#pragma once

#include "cuda.cuh"

// −t ln σ(z) − (1 − t) ln(1 − σ(z)); for t in [0, 1] every term is positive, so nothing cancels.
__device__ __forceinline__ float bce(float z, float t) {
    return log1pf(expf(-fabsf(z))) + (1.0f - t) * fmaxf(z, 0.0f) + t * fmaxf(-z, 0.0f);
}

// σ without overflow on either side.
__device__ __forceinline__ float sigmoid(float z) {
    const float small = expf(-fabsf(z));
    return (z < 0.0f ? small : 1.0f) / (1.0f + small);
}
