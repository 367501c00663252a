// What the emulator's own files share: threads, warps, regions of memory, and how a launch fails.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "emulator.h"
#include "fiber.h"

namespace emulator {

enum class State { runnable, at_barrier, in_warp, finished };

struct Copy {
    void* to;
    const void* from;
    size_t bytes, filled;
    Site site;
};

struct Thread {
    Fiber fiber;
    State state = State::finished;
    Index3 index{};
    unsigned linear = 0;
    Site site{};
    unsigned mask = 0;
    const void* payload = nullptr;
    size_t payload_bytes = 0;
    Exchange* exchange = nullptr;
    std::vector<Copy> uncommitted;
    std::vector<std::vector<Copy>> groups;
};

// Order in which runnable threads get their turn.
enum class Order { forward, reverse, random };

struct Launch {
    const char* kernel;
    Order order = Order::forward;
    bool late_copies = false;
    bool checked = true;
    uint64_t random = 1;
    uint64_t serial = 0;          // of this launch in the process
    uint64_t first_phase = 0;     // phases before it belong to earlier launches
    uint64_t phase = 0;           // counts block barriers (and blocks), over the whole process
    Index3 block{};
    unsigned block_linear = 0;
    std::vector<Thread> threads;
    std::vector<uint64_t> warp_phase;  // counts __syncwarp of whole warps
    bool failed = false;
    std::string failure;
    uint64_t deadline_ns = 0;
    uint64_t budget = 0;  // memory accesses until the running thread must give way
};

extern Launch launch;
extern Thread* current;

// Records the first failure of the launch and leaves the current fiber for good.
[[noreturn]] void fail(const std::string& what);
// Records a failure from the scheduler's side.
void record_failure(const std::string& what);
std::string name_of(const Thread& thread);
std::string text_of(Site site);
// "file.cu:12" of a code address, where the debug information and `addr2line` allow it.
std::string place_of_code(const void* address);
// Hands the processor to another thread of the block.
void give_way();
uint64_t next_random();
void check_deadline();

// --- checks.cpp -------------------------------------------------------------------------------

// Whether the kernels were compiled to call the functions below at each access. Without that no
// access can be judged: most of what came before it was never seen.
#ifdef EMULATOR_NO_ANNOUNCEMENTS
constexpr bool accesses_are_announced = false;
#else
constexpr bool accesses_are_announced = true;
#endif

enum class Kind { global, shared };
// Memory of which every access is checked; null when the host has none left. It is filled with NaN
// (all bits one). A margin on both sides belongs to it, so that an index just outside is named.
void* allocate(size_t bytes, Kind kind, bool initialised, const std::string& label);
void deallocate(void* memory);
// From now on every byte counts as written before the launch.
void mark_initialised(void* memory);
// Shared memory at the start of a block: NaN everywhere, nothing written yet.
void reset_region(void* memory);
// Where the fibers' stacks are: private to their threads, never checked.
void set_stacks(const char* low, const char* high);

}  // namespace emulator
