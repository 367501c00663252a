// What the emulator checks at every memory access: bounds, uninitialised reads, races, and reads of
// bytes that an asynchronous copy may still be writing.
//
// The kernels are compiled with -fsanitize=thread, which makes the compiler call `__tsan_read4` and
// its like before each access. We do not link the thread sanitizer: the functions are ours, below.
// Each byte of a region remembers who wrote and who read it last, and when, counted in *phases*: a
// block barrier begins a new phase of its block, a __syncwarp a new one of its warp. Two accesses of
// one byte by different threads, one of them a write, with no phase between them, are a race, whether
// or not the schedule at hand shows it in the result. Blocks have no order at all, so two blocks that
// touch the same byte of global memory, one of them writing, always race. Barriers of some of the
// threads order by the vector clocks of clocks.cpp; bulk copies and matrix products by these alone.

#include "runtime.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace emulator {
namespace {

enum Readers : uint8_t { one_thread, one_warp, one_block, many };

struct Access {
    uint64_t phase = 0;  // 0: never
    uint32_t who = 0;    // readers: a bit for each warp
    uint32_t warp_phase = 0;
    uint32_t block = 0;
    uint32_t time = 0;
    uint16_t thread = 0;  // or another agent of the vector clocks
    uint8_t readers = one_thread;
    bool atomic = false;
};

struct Cell {
    Access write, read;
    Site in_flight{};  // of the cp.async that is writing here, or the bulk copy that wrote last
};

constexpr size_t margin = 1024;

struct Region {
    char* start;
    size_t bytes;
    Kind kind;
    bool initialised;
    std::string label;
    void* block;  // what was allocated, margins included
    std::vector<Cell> cells;
    // Of each 16 bytes, when a product of each warpgroup last read them since they were written.
    std::vector<std::array<uint32_t, Clocks::warpgroups>> products;
};

std::map<const char*, std::unique_ptr<Region>>& regions() {
    static std::map<const char*, std::unique_ptr<Region>> map;
    return map;
}
Region* last_hit = nullptr;
const char *lowest = nullptr, *highest = nullptr;  // of all regions ever, to pass over the rest fast
const char *stacks_low = nullptr, *stacks_high = nullptr;

bool near(const Region& region, const char* address) {
    return address >= region.start - margin && address < region.start + region.bytes + margin;
}

Region* region_of(const char* address) {
    if (last_hit && near(*last_hit, address)) return last_hit;
    if (address < lowest || address >= highest) return nullptr;
    auto after = regions().upper_bound(address + margin);
    if (after == regions().begin()) return nullptr;
    Region* candidate = std::prev(after)->second.get();
    if (!near(*candidate, address)) return nullptr;
    return last_hit = candidate;
}

// Who makes an access, and what it knows.
struct Actor {
    Access access;
    const uint32_t* view;
    bool asynchronous;  // through the async proxy
    int group = -1;     // the warpgroup whose product it is
};

constexpr uint32_t never = ~uint32_t(0);

Actor actor_now(bool atomic) {
    Access now;
    now.phase = launch.phase;
    now.who = 1u << current->linear / 32;
    now.thread = uint16_t(current->linear);
    now.warp_phase = uint32_t(launch.warp_phase[current->linear / 32]);
    now.block = launch.block_linear;
    now.time = clocks.time;
    now.atomic = atomic;
    return {now, clocks.on ? clocks.view(current->linear) : nullptr, false};
}

// An agent beside the threads: no phase orders what it does.
bool is_agent(const Access& access) { return clocks.on && access.thread >= clocks.first_barrier; }

// By the vector clocks: does `now` know of `before`?
bool known(const Access& before, const Actor& now) {
    if (!clocks.on) return false;
    auto knows = [&](unsigned agent) {
        return agent == now.access.thread || (before.time != never && now.view[agent] >= before.time);
    };
    if (before.readers == one_thread) return knows(before.thread);
    for (unsigned t = 0; t < launch.threads.size(); ++t)
        if (before.who >> t / 32 & 1 && !knows(t)) return false;
    return true;
}

// Is `before` ordered before `now`, or harmless to it?
bool ordered(const Access& before, const Actor& actor, Kind kind) {
    const Access& now = actor.access;
    if (before.phase < launch.first_phase) return true;
    if (before.atomic && now.atomic) return true;
    if (kind == Kind::global && before.block != now.block) return false;
    if (before.readers == many) return false;
    if (!is_agent(before)) {
        if (before.phase < now.phase) return true;
        bool same_warp = before.thread / 32 == now.thread / 32;
        if (before.readers != one_block && same_warp && before.warp_phase < now.warp_phase) return true;
        if (before.readers == one_thread && before.thread == now.thread) return true;
    }
    return known(before, actor);
}

std::string describe(const Region& region, const char* address, size_t bytes) {
    char text[160];
    std::snprintf(text, sizeof text, "%zu bytes at byte %td of ", bytes, address - region.start);
    return text + region.label;
}

// Where an access is in the source: the code that made it, or the call that asked for it.
struct Place {
    const void* code;
    Site site;
    Place(const void* code) : code(code) {}
    Place(Site site) : code(nullptr), site(site) {}
    std::string text() const { return code ? place_of_code(code) : text_of(site); }
};

[[noreturn]] void report(const char* what, const char* access, const Region& region, const char* address,
                         size_t bytes, const Place& place, const std::string& more = "") {
    fail(std::string(what) + ": " + name_of(*current) + " " + access + " " +
         describe(region, address, bytes) + ", at " + place.text() + more);
}

[[noreturn]] void report_race(const Access& before, const char* verb, const char* access,
                              const Region& region, const char* address, size_t bytes, const Place& place) {
    char more[200];
    const char* who = before.readers == one_thread ? "thread" : "a thread near";
    std::snprintf(more, sizeof more, "; %s %u of block %u %s there with no barrier in between%s", who,
                  before.thread, before.block, verb,
                  before.block != launch.block_linear ? " (blocks have no order)" : "");
    report("race", access, region, address, bytes, place, more);
}

void note_read(Cell& cell, const Actor& actor, Kind kind) {
    Access& last = cell.read;
    const Access& now = actor.access;
    Access next = now;
    bool concurrent = last.phase == now.phase && last.block == now.block;
    bool this_launch = kind == Kind::global && last.phase >= launch.first_phase;
    if (this_launch && (last.readers == many || last.block != now.block)) {
        next.readers = many;
    } else if (clocks.on && last.phase >= launch.first_phase && !ordered(last, actor, kind)) {
        next.readers = last.who == now.who ? one_warp : one_block;
    } else if (clocks.on) {
        next.readers = one_thread;
    } else if (concurrent && last.readers >= one_block) {
        next.readers = last.readers;
    } else if (concurrent && last.thread / 32 != now.thread / 32) {
        next.readers = one_block;
    } else if (concurrent && last.warp_phase == now.warp_phase &&
               (last.readers == one_warp || last.thread != now.thread)) {
        next.readers = one_warp;
    }
    if (next.readers != one_thread) next.who |= last.who;
    last = next;
}

// A write at this offset: are the products done that read there?
void check_products(Region& region, size_t offset, const char* address, size_t bytes, const Actor& actor,
                    const Place& place) {
    auto& reads = region.products[offset / 16];
    for (unsigned group = 0; group < Clocks::warpgroups; ++group)
        if (reads[group] && actor.view[clocks.group_agent(group)] < reads[group])
            report("race", "writes", region, address, bytes, place,
                   "; a matrix product of warpgroup " + std::to_string(group) +
                       " read there and nobody made sure that it is done");
    reads.fill(0);
}

void preempt() {
    if (--launch.budget > 0) return;
    check_deadline();
    give_way();
}

// One access to a region that holds it.
void check_cells(Region& region, const char* address, size_t bytes, bool write, const Actor& actor,
                 const Place& place) {
    const char* verb = write ? "writes" : "reads";
    ptrdiff_t offset = address - region.start;
    if (offset < 0 || size_t(offset) + bytes > region.bytes)
        report("out of bounds", verb, region, address, bytes, place);
    if (region.cells.empty()) region.cells.resize(region.bytes);
    for (size_t i = 0; i < bytes; ++i) {
        Cell& cell = region.cells[size_t(offset) + i];
        bool from_agent = is_agent(cell.write);
        bool after_write = !cell.write.phase || ordered(cell.write, actor, region.kind);
        if (cell.in_flight.file && !(from_agent && after_write))
            report("missing wait", verb, region, address, bytes, place,
                   std::string("; the ") + (from_agent ? "bulk copy" : "cp.async") + " issued at " +
                       text_of(cell.in_flight) + " may still be writing there");
        if (!write && !region.initialised && cell.write.phase == 0)
            report("uninitialised", verb, region, address, bytes, place);
        if (!after_write) report_race(cell.write, "wrote", verb, region, address, bytes, place);
        if (write && cell.read.phase && !ordered(cell.read, actor, region.kind))
            report_race(cell.read, "read", verb, region, address, bytes, place);
        if (actor.asynchronous && region.kind == Kind::shared && cell.write.phase && !from_agent &&
            clocks.fenced[cell.write.thread] < cell.write.time)
            report("missing fence", verb, region, address, bytes, place,
                   "; thread " + std::to_string(cell.write.thread) +
                       " wrote there and did not open its writes to the async proxy (proxy_fence)");
        if (actor.group >= 0) {
            region.products[(size_t(offset) + i) / 16][size_t(actor.group)] = actor.access.time;
        } else if (!write) {
            note_read(cell, actor, region.kind);
        } else {
            if (!region.products.empty())
                check_products(region, size_t(offset) + i, address, bytes, actor, place);
            cell.write = actor.access;
            cell.in_flight = {};
            if (clocks.on && !actor.access.atomic) cell.read = {};  // comes before this write, so is covered
        }
    }
}

void check(const void* pointer, size_t bytes, bool write, bool atomic, const Place& place) {
    if (!current) return;
    auto* address = static_cast<const char*>(pointer);
    if (address >= stacks_low && address < stacks_high) {
        if (registers_in_flight) touch_registers(address, bytes, write ? "writes" : "reads", place.code);
        return;
    }
    preempt();
    if (!launch.checked) return;
    if (Region* region = region_of(address)) check_cells(*region, address, bytes, write, actor_now(atomic), place);
}

// A copy in flight owns its target until its thread has waited for it.
void mark_in_flight(const Copy& copy, bool in_flight) {
    Region* region = launch.checked ? region_of(static_cast<const char*>(copy.to)) : nullptr;
    if (!region || region->cells.empty()) return;
    auto offset = size_t(static_cast<char*>(copy.to) - region->start);
    Access now = actor_now(false).access;
    for (size_t i = 0; i < copy.bytes; ++i) {
        Cell& cell = region->cells[offset + i];
        cell.in_flight = in_flight ? copy.site : Site{};
        cell.write = now;
    }
}

void carry_out(const Copy& copy) {
    std::memcpy(copy.to, copy.from, copy.filled);
    std::memset(static_cast<char*>(copy.to) + copy.filled, 0, copy.bytes - copy.filled);
}

}  // namespace

// On 1 KiB boundaries, so that swizzled tiles lie as they do in shared memory.
void* allocate(size_t bytes, Kind kind, bool initialised, const std::string& label) {
    size_t all = (bytes + 2 * margin + 1023) / 1024 * 1024;
    auto* block = static_cast<char*>(std::aligned_alloc(1024, all));
    if (!block) return nullptr;
    std::memset(block, 0xFF, all);
    char* start = block + margin;
#if defined(__SANITIZE_ADDRESS__)
    __asan_poison_memory_region(block, margin);
    __asan_poison_memory_region(start + bytes, all - margin - bytes);
#endif
    regions()[start] = std::unique_ptr<Region>(new Region{start, bytes, kind, initialised, label, block, {}, {}});
    if (!lowest || block < lowest) lowest = block;
    if (block + all > highest) highest = block + all;
    return start;
}

void deallocate(void* memory) {
    auto found = regions().find(static_cast<char*>(memory));
    if (found == regions().end()) return;
    Region& region = *found->second;
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(region.block, region.bytes + 2 * margin);
#endif
    std::free(region.block);
    last_hit = nullptr;
    regions().erase(found);
}

void mark_initialised(void* memory) {
    auto found = regions().find(static_cast<char*>(memory));
    if (found != regions().end()) found->second->initialised = true;
}

void reset_region(void* memory) {
    Region& region = *regions()[static_cast<char*>(memory)];
    std::memset(region.start, 0xFF, region.bytes);
    if (launch.checked) region.cells.assign(region.bytes, Cell{});
    region.products.clear();
}

void set_stacks(const char* low, const char* high) {
    stacks_low = low;
    stacks_high = high;
}

void check_atomic(void* address, size_t bytes, const void* code) {
    check(address, bytes, false, true, code);
    check(address, bytes, true, true, code);
}

void check_barrier(const void* barrier, bool first, Site site) {
    if (!first) check(barrier, 8, false, true, site);
    check(barrier, 8, true, !first, site);
}

void bulk_read(const void* from, size_t bytes, Site site) { check(from, bytes, false, false, site); }

void bulk_write_begin(void* to, size_t bytes, unsigned agent, Site site) {
    auto* address = static_cast<const char*>(to);
    Region* region = launch.checked ? region_of(address) : nullptr;
    if (!region) return;
    Actor actor = actor_now(false);
    actor.asynchronous = true;
    check_cells(*region, address, bytes, true, actor, site);
    for (size_t i = 0; i < bytes; ++i) {
        Cell& cell = region->cells[size_t(address - region->start) + i];
        cell.write.thread = uint16_t(agent);
        cell.write.time = never;
        cell.in_flight = site;
    }
}

void bulk_write_end(void* to, size_t bytes, uint32_t time) {
    auto* address = static_cast<const char*>(to);
    Region* region = launch.checked ? region_of(address) : nullptr;
    if (!region) return;
    for (size_t i = 0; i < bytes; ++i) region->cells[size_t(address - region->start) + i].write.time = time;
}

void matrix_read(const void* from, size_t bytes, unsigned agent, const uint32_t* view, Site site) {
    auto* address = static_cast<const char*>(from);
    Region* region = launch.checked ? region_of(address) : nullptr;
    if (!region) return;
    Actor actor = actor_now(false);
    actor.access.thread = uint16_t(agent);
    actor.view = view;
    actor.asynchronous = true;
    actor.group = int(agent - clocks.group_agent(0));
    if (region->products.empty()) region->products.resize((region->bytes + 15) / 16);
    check_cells(*region, address, bytes, false, actor, site);
}

void copy_async(void* shared, const void* global, size_t bytes, size_t filled, Site site) {
    const void* code = __builtin_return_address(0);
    if (filled) check(global, filled, false, false, code);
    check(shared, bytes, true, false, code);
    Copy copy{shared, global, bytes, filled, site};
    mark_in_flight(copy, true);
    if (!launch.late_copies) carry_out(copy);
    current->uncommitted.push_back(copy);
}

void copy_commit() {
    current->groups.push_back(std::move(current->uncommitted));
    current->uncommitted.clear();
}

void copy_wait(unsigned pending) {
    auto& groups = current->groups;
    while (groups.size() > pending) {
        for (const Copy& copy : groups.front()) {
            if (launch.late_copies) carry_out(copy);
            mark_in_flight(copy, false);
        }
        groups.erase(groups.begin());
    }
}

namespace {

std::string look_up(const void* address) {
    Dl_info info{};
    if (!dladdr(address, &info) || !info.dli_fname) return "an unknown place";
    // The call returns to `address`; the access belongs to the instruction before it.
    auto offset = static_cast<const char*>(address) - 1 - static_cast<const char*>(info.dli_fbase);
    char command[1200], line[600] = "";
    std::snprintf(command, sizeof command, "addr2line -e '%s' 0x%tx 2>/dev/null", info.dli_fname, offset);
    if (FILE* pipe = popen(command, "r")) {
        if (!std::fgets(line, sizeof line, pipe)) line[0] = 0;
        pclose(pipe);
    }
    std::string place(line, std::strcspn(line, " \n"));
    if (!place.empty() && place[0] != '?') return place;
    std::snprintf(line, sizeof line, "%s+0x%tx", info.dli_fname, offset);
    return line;
}

}  // namespace

// addr2line reads the whole program, which takes a good part of a second: once is enough.
std::string place_of_code(const void* address) {
    static std::map<const void*, std::string> known;
    auto found = known.find(address);
    if (found == known.end()) found = known.emplace(address, look_up(address)).first;
    return found->second;
}

}  // namespace emulator

// The thread sanitizer's interface, as GCC and Clang call it.
#define ACCESS(bytes)                                                             \
    extern "C" void __tsan_read##bytes(void* a) {                                 \
        emulator::check(a, bytes, false, false, __builtin_return_address(0));     \
    }                                                                             \
    extern "C" void __tsan_write##bytes(void* a) {                                \
        emulator::check(a, bytes, true, false, __builtin_return_address(0));      \
    }                                                                             \
    extern "C" void __tsan_unaligned_read##bytes(void* a) {                       \
        emulator::check(a, bytes, false, false, __builtin_return_address(0));     \
    }                                                                             \
    extern "C" void __tsan_unaligned_write##bytes(void* a) {                      \
        emulator::check(a, bytes, true, false, __builtin_return_address(0));      \
    }
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)
extern "C" void __tsan_read_range(void* a, size_t bytes) {
    emulator::check(a, bytes, false, false, __builtin_return_address(0));
}
extern "C" void __tsan_write_range(void* a, size_t bytes) {
    emulator::check(a, bytes, true, false, __builtin_return_address(0));
}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}
extern "C" void __tsan_init() {}
