// The emulator's scheduler: blocks one after another, the threads of a block as fibers, barriers
// and warp operations as the places where one fiber stops and the next runs. docs/emulator.md.

#include "runtime.h"

#include <sys/mman.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <mutex>

#if defined(__x86_64__) && !defined(EMULATOR_UCONTEXT)
asm(R"(
    .text
    .globl whatwhere_switch_stack
    .type whatwhere_switch_stack, @function
whatwhere_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size whatwhere_switch_stack, .-whatwhere_switch_stack
)");
#endif

emulator::Index3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {

Launch launch;
Thread* current = nullptr;

namespace {

struct Kernel {
    const char* file;
    Invoker invoke;
};

std::map<std::string, Kernel>& kernels() {
    static std::map<std::string, Kernel> table;
    return table;
}

std::mutex one_launch;
std::deque<Exchange> exchanges;
std::vector<Exchange*> unused_exchanges;
char* dynamic_memory = nullptr;
uint64_t block_serial = 0;
Invoker body = nullptr;
void** arguments = nullptr;

uint64_t now_ns() {
    auto since = std::chrono::steady_clock::now().time_since_epoch();
    return uint64_t(std::chrono::duration_cast<std::chrono::nanoseconds>(since).count());
}

uint64_t time_limit_ns() {
    const char* seconds = std::getenv("WHATWHERE_EMULATOR_TIMEOUT");
    double limit = seconds ? std::atof(seconds) : 0.0;
    return uint64_t((limit > 0 ? limit : 60.0) * 1e9);
}

// Stacks for 1024 threads, mapped once and backed by memory only where touched. Between two of them
// lies a page that may not be touched, so that a kernel's stack overflow stops there.
char* stack_of(unsigned thread) {
    constexpr size_t page = 4096, stride = Fiber::stack_bytes + page;
    static char* base = [] {
        constexpr size_t all = 1024 * stride;
        void* memory = mmap(nullptr, all, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) return static_cast<char*>(nullptr);
        auto* start = static_cast<char*>(memory);
        for (int i = 0; i < 1024; ++i) mprotect(start + i * stride, page, PROT_NONE);
        set_stacks(start, start + all);
        return start;
    }();
    return base ? base + thread * stride + page : nullptr;
}

void thread_main() {
    current->fiber.entered();
    body(arguments);
    if (!current->uncommitted.empty() || !current->groups.empty())
        fail(name_of(*current) + " ended with a cp.async in flight: it was issued at " +
             text_of((current->groups.empty() ? current->uncommitted : current->groups[0])[0].site) +
             " and never waited for");
    if (std::string what = unfinished_products(*current); !what.empty()) fail(what);
    current->state = State::finished;
    current->fiber.suspend(true);
    __builtin_unreachable();
}

void run(Thread& thread) {
    current = &thread;
    threadIdx = thread.index;
    launch.budget = launch.order == Order::random ? 1 + next_random() % 256 : 1u << 20;
    thread.fiber.resume();
    current = nullptr;
}

// Nobody can run: either all stand at one barrier, or something is wrong.
bool release_barrier() {
    if (deliver_bulk_copies()) return true;
    Thread *waiting = nullptr, *other = nullptr;
    size_t at_barrier = 0, finished = 0;
    for (Thread& thread : launch.threads) {
        if (thread.state == State::at_barrier) {
            ++at_barrier;
            if (!waiting) waiting = &thread;
            if (!(thread.site == waiting->site)) other = &thread;
        }
        finished += thread.state == State::finished;
    }
    if (finished == launch.threads.size()) {
        if (std::string what = unfinished_copies(); !what.empty()) record_failure(what);
        return false;
    }
    if (at_barrier == launch.threads.size() && !other) {
        for (Thread& thread : launch.threads) thread.state = State::runnable;
        ++launch.phase;
        clocks.block_barrier();
        return true;
    }
    if (std::string what = stuck_at_barrier(); !what.empty()) {
        record_failure(what);
        return false;
    }
    for (Thread& thread : launch.threads)
        if (thread.state == State::in_warp) {
            record_failure(name_of(thread) + " waits in a warp operation at " + text_of(thread.site) +
                           " for lanes of its mask that never come");
            return false;
        }
    for (Thread& thread : launch.threads)
        if (thread.state == State::finished) other = &thread;
    std::string rest = other->state == State::finished
                           ? " has already returned"
                           : " waits at another one, " + text_of(other->site);
    record_failure("divergent barrier: " + name_of(*waiting) + " waits at __syncthreads, " +
                   text_of(waiting->site) + ", but " + name_of(*other) + rest);
    return false;
}

void sweep(std::vector<unsigned>& order) {
    if (launch.order == Order::random)
        for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[next_random() % i]);
    for (unsigned i : order) {
        Thread& thread = launch.threads[i];
        if (thread.state != State::runnable) continue;
        run(thread);
        if (launch.failed) return;
    }
}

bool anyone_runnable() {
    for (Thread& thread : launch.threads)
        if (thread.state == State::runnable) return true;
    return false;
}

void run_block() {
    ++launch.phase;
    ++block_serial;
    if (dynamic_memory) reset_region(dynamic_memory);
    std::fill(launch.warp_phase.begin(), launch.warp_phase.end(), 0);
    clocks.begin_block();
    begin_block_of_barriers();
    begin_block_of_matrices();
    std::vector<unsigned> order(launch.threads.size());
    for (unsigned i = 0; i < order.size(); ++i) {
        order[i] = launch.order == Order::reverse ? unsigned(order.size()) - 1 - i : i;
        Thread& thread = launch.threads[i];
        thread.state = State::runnable;
        thread.uncommitted.clear();
        thread.groups.clear();
        thread.fiber.prepare(stack_of(i), thread_main);
    }
    while (!launch.failed) {
        sweep(order);
        if (launch.failed || (!anyone_runnable() && !release_barrier())) return;
        check_deadline();
    }
}

Exchange* free_exchange() {
    if (unused_exchanges.empty()) {
        exchanges.emplace_back();
        unused_exchanges.push_back(&exchanges.back());
    }
    Exchange* exchange = unused_exchanges.back();
    unused_exchanges.pop_back();
    exchange->readers = 0;
    return exchange;
}

bool covers(unsigned mask, unsigned lane) { return mask >> lane & 1; }

const char* obstacle(const Index3& grid, const Index3& block) {
    uint64_t threads = uint64_t(block.x) * block.y * block.z;
    if (threads == 0 || threads > 1024) return "a block has 1 to 1024 threads";
    if (uint64_t(grid.x) * grid.y * grid.z == 0) return "the grid is empty";
    if (grid.y > 65535 || grid.z > 65535) return "a grid has at most 65535 blocks in y and z";
    if (block.z > 64) return "a block has at most 64 threads in z";
    if (!stack_of(0)) return "no memory for the stacks of 1024 threads";
    return nullptr;
}

void make_threads(const Index3& block) {
    unsigned count = block.x * block.y * block.z;
    launch.threads.clear();
    launch.threads.resize(count);
    launch.warp_phase.assign((count + 31) / 32, 0);
    for (unsigned i = 0; i < count; ++i) {
        launch.threads[i].linear = i;
        launch.threads[i].index = {i % block.x, i / block.x % block.y, i / (block.x * block.y)};
    }
}

void run_grid(const Index3& grid) {
    unsigned blocks = grid.x * grid.y * grid.z;
    for (unsigned i = 0; i < blocks && !launch.failed; ++i) {
        // Blocks run one after another, and no kernel may rely on their order.
        unsigned b = launch.order == Order::reverse ? blocks - 1 - i : i;
        launch.block_linear = b;
        launch.block = blockIdx = {b % grid.x, b / grid.x % grid.y, b / (grid.x * grid.y)};
        run_block();
    }
}

}  // namespace

Registration::Registration(const char* name, const char* file, Invoker invoke) {
    kernels()[name] = {file, invoke};
}

std::string text_of(Site site) {
    return std::string(site.file) + ":" + std::to_string(site.line);
}

std::string name_of(const Thread& thread) {
    char text[96];
    std::snprintf(text, sizeof text, "thread (%u, %u, %u) of block (%u, %u, %u)", thread.index.x,
                  thread.index.y, thread.index.z, launch.block.x, launch.block.y, launch.block.z);
    return text;
}

void record_failure(const std::string& what) {
    if (!launch.failed) launch.failure = what;
    launch.failed = true;
}

void fail(const std::string& what) {
    record_failure(what);
    current->fiber.suspend(true);
    __builtin_unreachable();
}

uint64_t next_random() {
    launch.random = launch.random * 6364136223846793005u + 1442695040888963407u;
    return launch.random >> 33;
}

void give_way() {
    Thread* me = current;
    me->fiber.suspend();
}

void check_deadline() {
    if (now_ns() < launch.deadline_ns) return;
    std::string what = "no end in sight: a livelock or an endless loop (the limit is set in seconds by "
                       "WHATWHERE_EMULATOR_TIMEOUT)";
    if (!current) return record_failure(what);
    fail(name_of(*current) + ": " + what);
}

unsigned lane() { return current->linear % 32; }
void* dynamic_shared_memory() { return dynamic_memory; }

void block_barrier(Site site) {
    current->state = State::at_barrier;
    current->site = site;
    give_way();
}

Exchange* warp_exchange(unsigned mask, const void* payload, size_t bytes, bool orders_memory, Site site) {
    Thread& me = *current;
    unsigned first = me.linear / 32 * 32;
    if (!covers(mask, me.linear - first))
        fail(name_of(me) + " is not in the mask of its own warp operation at " + text_of(site));
    me.state = State::in_warp;
    me.site = site;
    me.mask = mask;
    me.payload = payload;
    me.payload_bytes = bytes;
    unsigned count = std::min<unsigned>(32, unsigned(launch.threads.size()) - first);
    bool complete = true;
    for (unsigned i = 0; i < count && complete; ++i) {
        const Thread& other = launch.threads[first + i];
        if (covers(mask, i))
            complete = other.state == State::in_warp && other.mask == mask && other.site == site;
    }
    if (complete) {
        Exchange* exchange = free_exchange();
        std::vector<unsigned> meeting;
        for (unsigned i = 0; i < count; ++i) {
            if (!covers(mask, i)) continue;
            Thread& other = launch.threads[first + i];
            std::memcpy(exchange->data[i], other.payload, other.payload_bytes);
            other.exchange = exchange;
            other.state = State::runnable;
            ++exchange->readers;
            if (orders_memory && clocks.on) meeting.push_back(first + i);
        }
        if (!meeting.empty()) clocks.meet(meeting);
        if (orders_memory && exchange->readers == int(count)) ++launch.warp_phase[first / 32];
    } else {
        give_way();
    }
    return me.exchange;
}

void release(Exchange* exchange) {
    if (--exchange->readers == 0) unused_exchanges.push_back(exchange);
}

void* SharedPlace::memory() {
    if (!memory_) {
        memory_ = allocate(bytes_, Kind::shared, false,
                           std::string("shared array ") + name_ + " (" + text_of(site_) + ")");
        if (!memory_) fail("no host memory for shared arrays");
    }
    if (block_ != block_serial) {
        block_ = block_serial;
        reset_region(memory_);
    }
    return memory_;
}

}  // namespace emulator

using namespace emulator;

// The same arguments as cuLaunchKernel. Returns 0, or 1 with the reason in `error`.
// `schedule`: order (forward, reverse, random) + 3 * (copies as late as legal)
//             + 6 * (memory accesses unchecked) + 12 * seed.
extern "C" int whatwhere_emulate(const char* kernel, const unsigned* grid, const unsigned* block,
                                 unsigned shared_bytes, unsigned schedule, void** kernel_arguments,
                                 char* error, size_t error_bytes) {
    std::lock_guard<std::mutex> lock(one_launch);
    auto refuse = [&](const std::string& why) {
        std::snprintf(error, error_bytes, "%s", why.c_str());
        return 1;
    };
    auto found = kernels().find(kernel);
    if (found == kernels().end()) return refuse("the emulator knows no kernel of this name");
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    if (const char* why = obstacle(gridDim, blockDim)) return refuse(why);

    body = found->second.invoke;
    arguments = kernel_arguments;
    launch.kernel = found->first.c_str();
    launch.order = Order(schedule % 3);
    launch.late_copies = schedule / 3 % 2;
    launch.checked = accesses_are_announced && schedule / 6 % 2 == 0;
    launch.random = 0x9E3779B97F4A7C15u * (schedule / 12 + 1);
    launch.failed = false;
    launch.failure.clear();
    launch.first_phase = ++launch.phase;
    launch.deadline_ns = now_ns() + time_limit_ns();
    unused_exchanges.clear();
    for (Exchange& exchange : exchanges) unused_exchanges.push_back(&exchange);
    dynamic_memory = nullptr;
    if (shared_bytes) {
        dynamic_memory = static_cast<char*>(allocate(shared_bytes, Kind::shared, false, "dynamic shared memory"));
        if (!dynamic_memory) return refuse("no host memory for the block's shared memory");
    }
    make_threads(blockDim);
    run_grid(gridDim);
    if (dynamic_memory) deallocate(dynamic_memory);
    return launch.failed ? refuse(launch.failure) : 0;
}

extern "C" void* whatwhere_emulator_allocate(size_t bytes, int initialised) {
    std::lock_guard<std::mutex> lock(one_launch);
    static unsigned serial = 0;
    std::string label = "buffer " + std::to_string(++serial) + " of " + std::to_string(bytes) + " bytes";
    return allocate(bytes, Kind::global, initialised != 0, label);
}

// The host writes this buffer, so kernels may read it.
extern "C" void whatwhere_emulator_mark_written(void* memory) {
    std::lock_guard<std::mutex> lock(one_launch);
    mark_initialised(memory);
}

extern "C" void whatwhere_emulator_free(void* memory) {
    std::lock_guard<std::mutex> lock(one_launch);
    deallocate(memory);
}
