// What the emulator's own files share: threads, warps, regions of memory, and how a launch fails.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "emulator.h"
#include "fiber.h"

namespace emulator {

enum class State { runnable, at_barrier, in_warp, at_mbarrier, at_named_barrier, in_group, finished };

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

// Who knows of whose accesses (clocks.cpp), where barriers order some threads of a block and not all.
// What acts beside the threads is an agent too: the copies that an mbarrier announces, and the matrix
// products of a warpgroup.
struct Clocks {
    static constexpr unsigned most_barriers = 64, warpgroups = 8;
    bool on = false;            // some such barrier was used in this block
    uint32_t time = 1;          // passes at every release
    unsigned first_barrier = 0; // agents: the threads in whole warps, the mbarriers, the warpgroups
    unsigned agents = 0;
    std::vector<uint32_t> known;   // [thread][agent]: that agent's accesses up to this time come before
    std::vector<uint32_t> fenced;  // [thread]: its writes up to this time are open to the async proxy

    unsigned group_agent(unsigned group) const { return first_barrier + most_barriers + group; }
    uint32_t* view(unsigned thread) { return known.data() + size_t(thread) * agents; }
    void begin_block();
    void turn_on();
    // What `thread` did and knows so far goes into `into`, and a new time begins for it.
    void release(unsigned thread, std::vector<uint32_t>& into);
    void acquire(unsigned thread, const std::vector<uint32_t>& from);
    // All of `threads` know what any of them knows.
    void meet(const std::vector<unsigned>& threads);
    // The same for all threads of the block, as far as agents are concerned: phases do the rest.
    void block_barrier();
};
extern Clocks clocks;

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
// Where the fibers' stacks are: private to their threads, checked only for `touch_registers`.
void set_stacks(const char* low, const char* high);

// Accesses through the async proxy, which `site` issued. A bulk copy owns its target until `end`; from
// then on its bytes are those of `agent` at that time.
void bulk_read(const void* from, size_t bytes, Site site);
void bulk_write_begin(void* to, size_t bytes, unsigned agent, Site site);
void bulk_write_end(void* to, size_t bytes, uint32_t time);
// A read by the matrix product of a warpgroup, which knows what `view` says.
void matrix_read(const void* from, size_t bytes, unsigned agent, const uint32_t* view, Site site);
// An access to a thread's own mbarrier word.
void check_barrier(const void* barrier, bool first, Site site);

// --- barriers.cpp, bulk.cpp, wgmma.cpp ----------------------------------------------------------

void begin_block_of_barriers();
void begin_block_of_matrices();
// Nobody can run: bulk copies that were put off happen now. Whether any did.
bool deliver_bulk_copies();
// What keeps a thread at an mbarrier, a named barrier or a warpgroup's product; or nothing.
std::string stuck_at_barrier();
// What the block left undone when its threads had all finished; or nothing.
std::string unfinished_copies();
std::string unfinished_products(const Thread& thread);
// Reports an access to registers that a matrix product owns.
extern size_t registers_in_flight;
void touch_registers(const char* address, size_t bytes, const char* verb, const void* code);

}  // namespace emulator
