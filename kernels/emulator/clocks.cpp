// Vector clocks: which accesses come before which, where a barrier orders only some threads.
//
// A block barrier orders everything, and counting phases is enough for it. An mbarrier orders those who
// arrive before those who wait, a named barrier its own threads. So each thread carries a table: up to
// which time it knows the accesses of each agent. Arriving copies the table into the barrier, waiting
// takes it from there. An access at time t of agent a comes before whatever a thread does that knows a
// up to t. Time is one count for the block, and passes at every release.

#include <algorithm>

#include "runtime.h"

namespace emulator {

Clocks clocks;

void Clocks::begin_block() {
    on = false;
    time = 1;
}

void Clocks::turn_on() {
    if (on) return;
    on = true;
    size_t threads = launch.threads.size();
    first_barrier = unsigned(threads + 31) / 32 * 32;
    agents = first_barrier + most_barriers + warpgroups;
    known.assign(threads * agents, 0);
    fenced.assign(threads, 0);
}

void Clocks::release(unsigned thread, std::vector<uint32_t>& into) {
    into.resize(agents);
    uint32_t* mine = view(thread);
    mine[thread] = time++;
    for (unsigned agent = 0; agent < agents; ++agent) into[agent] = std::max(into[agent], mine[agent]);
}

void Clocks::acquire(unsigned thread, const std::vector<uint32_t>& from) {
    uint32_t* mine = view(thread);
    for (unsigned agent = 0; agent < from.size(); ++agent) mine[agent] = std::max(mine[agent], from[agent]);
}

void Clocks::meet(const std::vector<unsigned>& threads) {
    std::vector<uint32_t> all;
    for (unsigned thread : threads) release(thread, all);
    for (unsigned thread : threads) acquire(thread, all);
}

void Clocks::block_barrier() {
    if (!on) return;
    for (unsigned agent = first_barrier; agent < agents; ++agent) {
        uint32_t latest = 0;
        for (size_t t = 0; t < launch.threads.size(); ++t) latest = std::max(latest, view(unsigned(t))[agent]);
        for (size_t t = 0; t < launch.threads.size(); ++t) view(unsigned(t))[agent] = latest;
    }
}

}  // namespace emulator
