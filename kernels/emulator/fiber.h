// Fibers: one host stack per CUDA thread, switched by hand.
//
// A kernel that meets a barrier must stop in the middle and let its neighbours run. Each thread of
// the block therefore gets a stack of its own, and `Fiber::resume` / `Fiber::suspend` swap stack
// pointers. On x86-64 that is fourteen instructions (about 10 ns); elsewhere, or with
// -DEMULATOR_UCONTEXT, the portable `swapcontext` does the same some thirty times slower.
#pragma once

#include <cstddef>
#include <cstdint>

#if !defined(__x86_64__) || !defined(__ELF__)
#define EMULATOR_UCONTEXT
#endif

#ifdef EMULATOR_UCONTEXT
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700
#endif
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifndef EMULATOR_UCONTEXT
// Saves the callee-saved registers on this stack, leaves it through *save, and continues on `load`.
extern "C" void whatwhere_switch_stack(void** save, void* load);
#endif

namespace emulator {

class Fiber {
public:
    static constexpr size_t stack_bytes = 128 * 1024;

    // Starts `entry` on `stack` at the next `resume`. `entry` must end with `suspend(true)`.
    void prepare(char* stack, void (*entry)()) {
        stack_ = stack;
#ifdef EMULATOR_UCONTEXT
        getcontext(&inside_);
        inside_.uc_stack.ss_sp = stack;
        inside_.uc_stack.ss_size = stack_bytes;
        inside_.uc_link = nullptr;
        makecontext(&inside_, entry, 0);
#else
        // The frame `whatwhere_switch_stack` pops: six registers, then the address it returns to,
        // which sits on a 16-byte boundary so that `entry` finds the alignment of a normal call.
        auto top = reinterpret_cast<uintptr_t>(stack + stack_bytes) & ~uintptr_t(15);
        auto* frame = reinterpret_cast<void**>(top) - 2;
        *frame = reinterpret_cast<void*>(entry);
        for (int i = 0; i < 6; ++i) *--frame = nullptr;
        inside_ = frame;
#endif
#if defined(__SANITIZE_ADDRESS__)
        // The last launch may have left this stack in the middle of a function: forget its redzones.
        __asan_unpoison_memory_region(stack, stack_bytes);
        fake_ = nullptr;
#endif
    }

    // From the scheduler into the fiber, until it suspends.
    void resume() {
#if defined(__SANITIZE_ADDRESS__)
        void* mine;
        __sanitizer_start_switch_fiber(&mine, stack_, stack_bytes);
#endif
#ifdef EMULATOR_UCONTEXT
        swapcontext(&outside_, &inside_);
#else
        whatwhere_switch_stack(&outside_, inside_);
#endif
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_finish_switch_fiber(mine, nullptr, nullptr);
#endif
    }

    // First thing a fiber does.
    void entered() {
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_finish_switch_fiber(nullptr, &outside_stack_, &outside_bytes_);
#endif
    }

    // From the fiber back to the scheduler. `for_good`: it will not be resumed.
    void suspend(bool for_good = false) {
        (void)for_good;
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_, outside_stack_, outside_bytes_);
#endif
#ifdef EMULATOR_UCONTEXT
        swapcontext(&inside_, &outside_);
#else
        whatwhere_switch_stack(&inside_, outside_);
#endif
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_finish_switch_fiber(fake_, &outside_stack_, &outside_bytes_);
#endif
    }

private:
#ifdef EMULATOR_UCONTEXT
    ucontext_t inside_, outside_;
#else
    void *inside_ = nullptr, *outside_ = nullptr;
#endif
    char* stack_ = nullptr;
#if defined(__SANITIZE_ADDRESS__)
    void* fake_ = nullptr;
    const void* outside_stack_ = nullptr;
    size_t outside_bytes_ = 0;
#endif
};

}  // namespace emulator
