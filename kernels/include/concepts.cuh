// What becomes of the logits of a semantic bottleneck: shared by the FFMA and the tensor-core kernels
// (sb_projection.cu, sb_projection_mma.cu).
#pragma once

#include "bce.cuh"
#include "mean.cuh"
#include "numbers.cuh"
#include "params/sb_projection.h"

template <class T> struct Concepts {
    const T* bias;
    const T* targets;
    const T* mask;     // null: no loss
    const T* weights;  // null: all 1
    T* logits;
    T* concepts;
    bool activated;
    unsigned count;    // concepts of a row
    float loss = 0.0f, total = 0.0f;  // Σ m w ℓ and Σ m of this thread

    __device__ __forceinline__ Concepts(const SbProjectionParams& p, const T* bias_, const T* targets_,
                                        const T* mask_, const T* weights_, T* logits_, T* concepts_)
        : bias(bias_), targets(targets_), mask(mask_), weights(weights_), logits(logits_), concepts(concepts_),
          activated(p.activated != 0), count(p.concepts) {}

    // The labels of one concept: what is read before there is a logit.
    struct Label {
        float target = 0.0f, known = 0.0f, share = 1.0f;
    };
    __device__ __forceinline__ Label label(size_t at) const {
        Label label;
        if (!mask) return label;
        label.known = to_float(mask[at]);
        label.target = to_float(targets[at]);
        if (weights) label.share = to_float(weights[at]);
        return label;
    }

    // `sum`: Σ x·W of element `at`. Activation and loss are made of the logit as it is stored.
    __device__ __forceinline__ void finish(float sum, float bias_of_it, size_t at, const Label& label) {
        const T stored = round_to<T>(sum + bias_of_it);
        const float z = to_float(stored);
        logits[at] = stored;
        if (activated) concepts[at] = round_to<T>(sigmoid(z));
        loss += label.known == 0.0f ? 0.0f : label.known * label.share * bce(z, label.target);
        total += label.known;
    }

    // Leaves the sums of this block, of so many threads.
    template <int threads> __device__ __forceinline__ void leave(float* partial) const {
        float own[2] = {loss, total};
        if (mask) store_partial<threads>(own, partial);
    }
};
